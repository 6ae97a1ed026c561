"""A listener that shows a chain nobody has seen yet, and hears who can verify it; the other way, it
verifies the certificates that proxies show, as their peers will.

Each proxy comes with a server name of its own, so that one that breaks the handshake off is known
too, and with the reason that its TLS alert gives (RFC 8446, 6.2). It answers nothing: a finished
handshake is all that is asked for.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl

from cryptography import x509

from certs.x509 import spiffe_id
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


_SHOWN = "its certificate of the new authority"


class Probe:
    """`heard`: server name -> '' for a finished handshake, or why there was none.

    roots_pem: what certificates of proxies are verified with. `expected`: server name -> the SPIFFE
    id that must be shown; whoever is not in it need not show any."""

    def __init__(self, key_pem: bytes, chain_pem: bytes, roots_pem: bytes) -> None:
        self.heard: dict[str, str] = {}
        self.expected: dict[str, str] = {}
        self._roots = roots_pem.decode("ascii")
        self._file = os.memfd_create("probe", os.MFD_CLOEXEC)  # a key never touches a disk
        with open(self._file, "wb", closefd=False) as file:
            file.write(key_pem + chain_pem)
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    async def start(self, host: str) -> int:
        """Listens on a port of the kernel's choice, which it answers. OSError if it cannot."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = self._listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind((host, 0))
        listener.listen(BACKLOG)
        self._accepting = spawn(self._accept(listener), "probe of a rehearsal")
        return int(listener.getsockname()[1])

    def close(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
        if self._listener is not None:
            self._listener.close()
        os.close(self._file)

    async def _accept(self, listener: socket.socket) -> None:
        # Not create_server(ssl=...): that hides handshakes that fail.
        loop = asyncio.get_running_loop()
        while True:
            guest, _ = await loop.sock_accept(listener)
            spawn(self._shake(guest), "handshake of a rehearsal")

    async def _shake(self, guest: socket.socket) -> None:
        """The handshake of one connection, and what came of it."""
        names: list[str] = []
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                asyncio.Protocol,
                guest,
                ssl=self._context(names),
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            )
        except ssl.SSLCertVerificationError as error:
            self._note(names, f"{_SHOWN} is refused by its peers: {error.verify_message}")
        except ssl.SSLError as error:
            reason = error.reason or str(error)
            self._note(names, _WORDS.get(reason, f"broke the handshake off ({reason})"))
        except OSError as error:
            self._note(names, f"broke the handshake off ({error.strerror or 'without an alert'})")
        else:
            shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            for name in names:
                self._note([name], _why_not(shown, self.expected.get(name, "")))
            transport.close()

    def _context(self, names: list[str]) -> ssl.SSLContext:
        """One of its own for each handshake: only so a name belongs to one that fails."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"/proc/self/fd/{self._file}")
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=self._roots)

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


def _why_not(shown: bytes | None, expected: str) -> str:
    """Why a verified certificate (DER), or none, is not what its peers would want; '' if it is."""
    if not expected:
        return ""
    if not shown:
        return "did not show a certificate of the new authority"
    try:
        found = str(spiffe_id(x509.load_der_x509_certificate(shown)))
    except ValueError as error:
        return f"{_SHOWN}: {error}"
    return "" if found == expected else f"{_SHOWN} is for {found}, not for {expected}"
