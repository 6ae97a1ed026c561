"""From an accepted socket to a protocol that serves it: Envoy's listener filters, the filter chain,
the TLS handshake, the peer's names. Whatever fails here ends with the socket closed, a counter and
a line in the log; nothing is raised to the accept loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Coroutine
from time import time
from typing import TYPE_CHECKING, Any, cast

from proxy.config.model import Listener
from proxy.connection import ConnectionInfo
from proxy.listen.connection_log import log_refused, logged_at_end
from proxy.listen.counters import InspectorCounters, ListenerCounters
from proxy.listen.proxied import read_proxy_header
from proxy.listen.runtime import DEFAULT_HANDSHAKE_TIMEOUT_S, ChainRuntime, ListenerRuntime
from proxy.listen.sniff import peek_until
from proxy.tls.failure import CHAIN, TIMEOUT, TlsFailed
from proxy.tls.handshake import Handshake
from proxy.tls.transport import TlsTransport
from proxy.transport.plain import PlainTransport
from proxy.transport.watch import watch_of
from proxy.wire import client_hello, http_preface

if TYPE_CHECKING:
    from proxy.tls.contexts import ServerTls
    from proxy.tls.session import Session

log = logging.getLogger("weft.listen")


class Establisher:
    """Makes connections of one listening address. shaking: the hands that are shaken now, in the
    order of their beginnings, and when that was (the loop's seconds). One timer stands for all of
    them, at the first deadline."""

    __slots__ = ("_due", "_inspectors", "_timer", "counters", "loop", "shaking")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        counters: ListenerCounters,
        inspectors: InspectorCounters,
    ) -> None:
        self.loop = loop
        self.counters = counters
        self._inspectors = inspectors
        self.shaking: dict[_TlsGate, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf  # when it is due

    def begin(
        self, runtime: ListenerRuntime, sock: socket.socket, info: ConnectionInfo
    ) -> Coroutine[Any, Any, None] | None:
        """What is to be done for `sock` yet; None if nothing is left to wait for."""
        proxied = runtime.config.proxy_protocol is not None
        if proxied or runtime.needs_tls_inspector or runtime.needs_http_inspector:
            return self._inspect(runtime, sock, info)
        chain = self._choose(runtime, sock, info, "raw_buffer")
        if chain is None:
            return None
        if chain.tls is None:
            self._serve(chain, sock, info)
        else:
            self._terminate_tls(chain, chain.tls, sock, info)
        return None

    def abandon(self) -> None:
        """Drops whose handshake is not over."""
        for gate in list(self.shaking):
            gate.abandon()

    # ----------------------------------------------------------------------- listener filters

    async def _inspect(
        self, runtime: ListenerRuntime, sock: socket.socket, info: ConnectionInfo
    ) -> None:
        transport_protocol: str | None = "raw_buffer"
        self.counters.pre_cx_active.value += 1
        try:
            async with asyncio.timeout(runtime.config.listener_filters_timeout_s or None):
                transport_protocol = await self._listener_filters(runtime, sock, info)
        except TimeoutError:
            self.counters.pre_cx_timeout.value += 1
            if not runtime.config.continue_on_listener_filters_timeout:
                log.debug(
                    "%s: no first bytes from %s:%d in time", runtime.config.name, *info.remote
                )
                transport_protocol = None
        except OSError as error:
            log.debug("%s: %s:%d: %s", runtime.config.name, *info.remote, error)
            transport_protocol = None
        except BaseException:
            sock.close()
            raise
        finally:
            self.counters.pre_cx_active.value -= 1
        if transport_protocol is None:
            sock.close()
            return
        chain = self._choose(runtime, sock, info, transport_protocol)
        if chain is None:
            return
        if chain.tls is not None:
            self._terminate_tls(chain, chain.tls, sock, info)
        else:
            self._serve(chain, sock, info)

    async def _listener_filters(
        self, runtime: ListenerRuntime, sock: socket.socket, info: ConnectionInfo
    ) -> str | None:
        """The transport protocol; None when the connection is at its end already."""
        config = runtime.config.proxy_protocol
        if config is not None and not await read_proxy_header(
            sock, info, config, self._inspectors.proxy_protocol(config.stat_prefix)
        ):
            return None
        port = info.local[1]
        if runtime.looks_for_tls(port):
            data = await peek_until(sock, _enough_for_tls)
            found = client_hello.parse(data) if data is not None else None
            if found is None:
                self.counters.remote_close.value += 1
                return None
            if found == "too_large":
                self._inspectors.client_hello_too_large.value += 1
                return None
            if isinstance(found, client_hello.ClientHello):
                self._note_client_hello(info, found)
                if runtime.config.ja3 or runtime.config.ja4:
                    _note_fingerprints(runtime.config, info, data or b"")
                return "tls"
            self._inspectors.tls_not_found.value += 1
        if runtime.looks_for_http(port):
            data = await peek_until(sock, _enough_for_http)
            if data is None:
                self.counters.remote_close.value += 1
                return None
            self._note_http(info, http_preface.detect(data))
        return "raw_buffer"

    def _note_client_hello(self, info: ConnectionInfo, hello: client_hello.ClientHello) -> None:
        info.sni, info.offered_alpn = hello.server_name, hello.alpn
        counters = self._inspectors
        counters.tls_found.value += 1
        (counters.sni_found if hello.server_name else counters.sni_not_found).value += 1
        (counters.alpn_found if hello.alpn else counters.alpn_not_found).value += 1

    def _note_http(self, info: ConnectionInfo, protocol: str) -> None:
        self._inspectors.http[protocol].value += 1
        if protocol != "not_http":
            info.offered_alpn = (protocol,)

    def _choose(
        self,
        runtime: ListenerRuntime,
        sock: socket.socket,
        info: ConnectionInfo,
        transport_protocol: str,
    ) -> ChainRuntime | None:
        """Counts the connection that has a chain, closes the one that has none."""
        chain = runtime.table.find(info, transport_protocol)
        if chain is None:
            self.counters.no_filter_chain_match.value += 1
            log.debug(
                "%s: no filter chain for %s:%d (%s, server name %r)",
                *(runtime.config.name, *info.remote, transport_protocol, info.sni),
            )
            log_refused(runtime.loggers, info)
            sock.close()
            return None
        info.on_closed = self.counters.opened()
        if runtime.loggers:
            info.on_closed = logged_at_end(runtime.loggers, info, info.on_closed)
        return chain

    # ----------------------------------------------------------------------- serving

    def _serve(self, chain: ChainRuntime, sock: socket.socket, info: ConnectionInfo) -> None:
        """Plaintext."""
        try:
            protocol = chain.connect(info)
        except BaseException:
            info.on_closed()
            sock.close()
            raise
        PlainTransport(self.loop, watch_of(self.loop), sock).begin(cast(asyncio.Protocol, protocol))

    def _terminate_tls(
        self, chain: ChainRuntime, tls: ServerTls, sock: socket.socket, info: ConnectionInfo
    ) -> None:
        try:
            gate = _TlsGate(chain, tls, sock, info, self)
        except BaseException:
            info.on_closed()
            sock.close()
            raise
        now = self.loop.time()
        self.shaking[gate] = now
        if now + gate.timeout_s < self._due:
            self._wake_at(now + gate.timeout_s)

    def shaken(self, gate: _TlsGate) -> None:
        self.shaking.pop(gate, None)

    def _wake_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(due, self._time_out)
        self._due = due

    def _time_out(self) -> None:
        """Whoever takes too long; then it is looked for the next."""
        self._timer, self._due = None, math.inf
        now = self.loop.time()
        left = math.inf
        for gate, began in list(self.shaking.items()):
            due = began + gate.timeout_s
            if due <= now:
                gate.time_out()
            elif due < left:
                left = due
        if left < math.inf:
            self._wake_at(left)


class _TlsGate:
    """Lets connections in whose handshake is over. The protocol behind it so is made with
    everything known. made: there is one, which will tell of the connection's end."""

    __slots__ = (
        "_chain", "_counters", "_handshake", "_info", "_keeper", "_tls", "made", "session",
        "timeout_s",
    )  # fmt: skip

    def __init__(
        self,
        chain: ChainRuntime,
        tls: ServerTls,
        sock: socket.socket,
        info: ConnectionInfo,
        keeper: Establisher,
    ) -> None:
        self.made = False
        self.session = tls.session()
        self._chain = chain
        self._tls = tls
        self._info = info
        self._keeper = keeper
        self._counters = keeper.counters
        self.timeout_s = chain.handshake_timeout_s or DEFAULT_HANDSHAKE_TIMEOUT_S
        self._handshake = Handshake(
            keeper.loop, sock, self.session, self.enter, self._end, chain.close_notify_wait_s
        )

    def _end(self, failure: TlsFailed | None) -> None:
        if failure is not None:
            self.refuse(failure)
        self._counters.tls.ended(self.session)
        if not self.made:
            self._info.on_closed()
        self._keeper.shaken(self)

    def abandon(self) -> None:
        self._handshake.abort()
        self._info.on_closed()
        self._keeper.shaken(self)

    def give_way(self) -> None:
        """To others, who are kept out as there are too many of us."""
        self.refuse(TlsFailed(TIMEOUT, "others wait, and the TLS handshake takes long"))
        self.abandon()

    def time_out(self) -> None:
        self.refuse(TlsFailed(TIMEOUT, f"the TLS handshake took more than {self.timeout_s:g} s"))
        self.abandon()

    def enter(self, transport: TlsTransport) -> asyncio.Protocol | None:
        """Who serves the connection; None: it must be dropped."""
        session, info = self.session, self._info
        if not self._tls.verify(session, time()):
            self.refuse(TlsFailed(session.refusal.statistic, session.refusal.why))
            return None
        try:
            fill(info, session)
        except ValueError as error:  # OpenSSL has taken it, our reader has not
            self.refuse(TlsFailed(CHAIN, f"the certificate cannot be read: {error}"))
            return None
        info.own = self._tls.own.facts[0]
        self._counters.tls.established(session, info.peer)
        try:
            protocol = self._chain.connect(info)
        except Exception:  # the loop would leave the connection hanging
            log.exception("connection of %s:%d dropped", *info.remote)
            return None
        self.made = True
        return cast(asyncio.Protocol, protocol)

    def refuse(self, failure: TlsFailed) -> None:
        """Counts and tells why. What a peer says of our certificate is told with ours."""
        if failure.statistic == TIMEOUT:
            self._counters.handshake_timeout.value += 1
        else:
            self._counters.tls.failed(failure)
        self._info.failure = failure.told
        ours = f"; ours is {self._tls.own.told()}" if failure.by_alert else ""
        log.info("TLS handshake with %s:%d: %s%s", *self._info.remote, failure.why, ours)


def fill(info: ConnectionInfo, session: Session) -> None:
    """What the handshake has brought. Raises ValueError for a certificate that can't be read."""
    info.tls = True
    info.sni = info.sni or session.server_name
    info.alpn = session.alpn
    info.tls_version = session.version
    info.cipher = session.cipher
    der = session.peer_der
    if der:
        from proxy.tls.peer import certificate_facts  # a plaintext proxy has no use for it

        info.peer = certificate_facts(der)
        info.peer_chain = session.peer_chain
    info.told = session.told


def _enough_for_tls(data: bytes) -> bool:
    return client_hello.parse(data) != "need_more"


def _enough_for_http(data: bytes) -> bool:
    return http_preface.detect(data) != "need_more"


def _note_fingerprints(config: Listener, info: ConnectionInfo, data: bytes) -> None:
    from proxy.wire import fingerprint  # few ask for it

    lists = fingerprint.read(data)
    if lists is not None:
        info.ja3 = fingerprint.ja3(lists) if config.ja3 else ""
        info.ja4 = fingerprint.ja4(lists) if config.ja4 else ""
