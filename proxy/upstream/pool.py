"""Who gets which connection. Decisions only: opening one is handed in, so that this can be tested.

Idle connections of a host are used last-in first-out, which lets the others grow old and close.
When there is none, the exchange waits in the host's queue and the first connection that becomes
free takes it, be it the one opened for it or another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxy.http.message import Request, Response
from proxy.upstream.breaker import Breaker
from proxy.upstream.host import Host

if TYPE_CHECKING:
    from proxy.upstream.http1 import UpstreamH1


class Exchange(Protocol):
    """One attempt to have a request answered, as a connection sees it: the router's side."""

    request: Request
    breaker: Breaker

    def on_connected(self, connection: UpstreamH1) -> None:
        """It has a connection now and may send."""

    def on_response(self, response: Response, data: bytes, end: bool) -> None: ...
    def on_data(self, data: bytes) -> None: ...
    def on_end(self) -> None: ...

    def on_reset(self, reason: str, detail: str = "") -> None:
        """It is over without (the rest of) a response; the connection is gone or was none."""

    def on_writable(self, writable: bool) -> None:
        """The connection's send buffer is full (False) or has room again."""


def wants_connection(host: Host, breaker: Breaker) -> bool:
    """Should one more be opened for what waits? A host may always have one (Envoy's rule)."""
    if len(host.pending) <= host.connecting:
        return False
    alone = not host.connections and not host.connecting
    return alone or breaker.connections < breaker.max_connections
