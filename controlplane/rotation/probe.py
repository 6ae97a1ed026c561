"""A listener that shows a chain nobody has seen yet, and hears who can verify it.

Each proxy comes with a server name of its own, so that one that breaks the handshake off is known
too, and with the reason that its TLS alert gives (RFC 8446, 6.2). It answers nothing: a finished
handshake, with or without a client certificate, is all that is asked for.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import cast

from controlplane.tasks import spawn

HANDSHAKE_TIMEOUT_S = 5.0
BACKLOG = 1024

_WORDS = {
    "TLSV1_ALERT_UNKNOWN_CA": "does not trust its root (alert unknown_ca)",
    "SSLV3_ALERT_BAD_CERTIFICATE": "refused its certificate (alert bad_certificate)",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (
        "says that it is expired or not valid yet: check its clock (alert certificate_expired)"
    ),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "refused its certificate (alert certificate_unknown)",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": (
        "does not take this kind of certificate (alert unsupported_certificate)"
    ),
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "has no cipher for it (alert handshake_failure)",
    "NO_SHARED_CIPHER": "has no cipher for this kind of key",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "has no signature algorithm for this kind of key",
}


class Probe:
    """`heard`: server name -> '' for a finished handshake, or why there was none."""

    def __init__(self, key_pem: bytes, chain_pem: bytes) -> None:
        self.heard: dict[str, str] = {}
        self._file = os.memfd_create("probe", os.MFD_CLOEXEC)  # a key never touches a disk
        with open(self._file, "wb", closefd=False) as file:
            file.write(key_pem + chain_pem)
        self._server: asyncio.Server | None = None

    async def start(self, host: str) -> int:
        """Listens on a port of the kernel's choice, which it answers. OSError if it cannot."""
        # Not create_server(ssl=...): that hides handshakes that fail.
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Guest(self), host, 0, backlog=BACKLOG)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        os.close(self._file)

    async def shake(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        """The handshake of one connection, and what came of it."""
        loop = asyncio.get_running_loop()
        names: list[str] = []
        try:
            secured = await loop.start_tls(
                transport,
                protocol,
                self._context(names),
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            )
        except ssl.SSLError as error:
            reason = error.reason or str(error)
            self._note(names, _WORDS.get(reason, f"broke the handshake off ({reason})"))
        except OSError as error:
            self._note(names, f"broke the handshake off ({error.strerror or error})")
        else:
            self._note(names, "")
            if secured is not None:
                secured.close()
        transport.abort()

    def _context(self, names: list[str]) -> ssl.SSLContext:
        """One of its own for each handshake: only so a name belongs to one that fails."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"/proc/self/fd/{self._file}")

        def remember(tls: object, name: str | None, _: ssl.SSLContext) -> None:
            if name:
                names.append(name)

        context.sni_callback = remember
        return context

    def _note(self, names: list[str], why: str) -> None:
        """A handshake that was finished once counts, whatever comes after it."""
        for name in names:
            if self.heard.get(name) != "":
                self.heard[name] = why


class _Guest(asyncio.Protocol):
    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        plain = cast(asyncio.Transport, transport)
        spawn(self._probe.shake(plain, self), "handshake of a rehearsal")
