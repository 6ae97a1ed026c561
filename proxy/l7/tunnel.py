"""Requests that ask to leave HTTP: upgrades and CONNECT (Envoy's `upgrade_configs`).

    asked -> admitted (or 403) -> head sent, bytes held -> 101, or 2xx to CONNECT: both ways open

What the client says before the upstream has agreed is held back: an upstream that does not agree
would read it as a request (RFC 9110 section 7.8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.filters.api import Reply
from proxy.http.message import Response
from proxy.l7.reply import NO_ROUTE, UPGRADE_REFUSED
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.tunnel import TcpTunnel
from proxy.wire import proxy_protocol

if TYPE_CHECKING:
    from proxy.l7.stream import Stream


def admit(stream: Stream) -> Reply | None:
    """May this kind of upgrade pass here? The route's word goes before the manager's. The stream
    gets the filters that the manager has for it."""
    manager, route = stream.manager, stream.route
    kind = stream.request.upgrade.lower() or b"connect"
    if route is None:
        return None if stream.chain is manager.lost_chain else NO_ROUTE
    allowed = route.upgrades.get(kind)
    configured = manager.upgrades.get(kind)
    if allowed is None:
        allowed = configured is not None and configured.enabled
    stats = manager.stats
    if not allowed:
        stats.downstream_rq_ws_on_non_ws_route.value += 1
        return UPGRADE_REFUSED
    stream.chain = manager.upgrade_chain(kind, route)
    stream.tunnels = stream.holds = stream.has_extras = True
    stats.downstream_cx_upgrades_total.value += 1
    stats.downstream_cx_upgrades_active.value += 1
    return None


def ends_here(stream: Stream) -> bool:
    """CONNECT (or POST, where that is allowed) whose bytes go on as plain TCP."""
    connect = stream.route.connect if stream.route is not None else None
    if connect is None:
        return False
    method = stream.request.method
    return method == b"CONNECT" or (connect.allow_post and method == b"POST")


def dial(stream: Stream, cluster: Cluster, host: Host) -> None:
    """A TCP connection for this stream alone takes the place of one from the pool."""
    connect = stream.route.connect if stream.route is not None else None
    version = connect.proxy_protocol if connect is not None else None
    first = b""
    if version is not None:  # who the client is, and where it came to
        info = stream.info
        first = proxy_protocol.encode(1 if version == "V1" else 2, info.remote, info.local)
    stream.dialing = TcpTunnel(cluster, host, stream, stream.manager.open_tcp, first)


def was_refused(stream: Stream, response: Response) -> bool:
    """Is this answer to a WebSocket's request none that Envoy passes on? Its body then stays."""
    if stream.request.upgrade.lower() != b"websocket" or not 101 < response.status < 400:
        return False
    if stream.up is not None:
        stream.up.abandon(stream)
        stream.up = None
    stream.body = None
    response.headers.remove(b"content-type")
    response.headers.set(b"content-length", b"0")
    response.length = 0
    stream.deliver(response, b"", True, "websocket_handshake_unsuccessful")
    return True


def agrees(upgrade: bytes, status: int) -> bool:
    """Does the answer open the tunnel? RFC 9110 sections 15.2.2 and 9.3.6."""
    return status == 101 if upgrade else 200 <= status < 300


def open_up(stream: Stream) -> None:
    """The answer has gone down: from here on bytes pass, and first those that were held."""
    up, held = stream.up, stream.body
    stream.holds = False
    stream.body = None
    if up is None:
        return
    stream.down.resume_reading(stream)  # first: what is sent may be too much again
    for data in held or ():
        up.send_data(stream, data)
    if stream.request_done:
        up.end_request(stream, None)
