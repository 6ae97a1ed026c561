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

if TYPE_CHECKING:
    from proxy.l7.stream import Stream


def admit(stream: Stream) -> Reply | None:
    """May this kind of upgrade pass here? The route's word goes before the manager's. The stream
    gets the filters that the manager has for it."""
    manager, route = stream.manager, stream.route
    kind = stream.request.upgrade.lower() or b"connect"
    if route is None and kind == b"connect":
        return NO_ROUTE
    allowed = route.upgrades.get(kind) if route is not None else None
    configured = manager.upgrades.get(kind)
    if allowed is None:
        allowed = configured is not None and configured.enabled
    stats = manager.stats
    if not allowed:
        stats.downstream_rq_ws_on_non_ws_route.value += 1
        return UPGRADE_REFUSED
    stream.chain = manager.upgrade_chain(kind, route)
    stream.tunnels = stream.holds = True
    stats.downstream_cx_upgrades_total.value += 1
    stats.downstream_cx_upgrades_active.value += 1
    return None


def answered(stream: Stream, response: Response) -> Reply | None:
    """The upstream's answer to an admitted request; a Reply takes its place."""
    if agrees(stream.request.upgrade, response.status):
        return None
    stream.body = None
    if stream.request.upgrade.lower() == b"websocket" and response.status < 400:
        return Reply(response.status, b"", "", "websocket_handshake_unsuccessful")
    return None


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
    for data in held or ():
        up.send_data(stream, data)
    stream.down.resume_reading(stream)
    if stream.request_done:
        up.end_request(stream, None)
