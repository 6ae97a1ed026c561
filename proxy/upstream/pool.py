"""Who gets which connection. Decisions only: opening one is handed in, so that this can be tested.

Idle connections of a host are used last-in first-out, which lets the others grow old and close.
When there is none, the exchange waits in the host's queue and the first connection that becomes
free takes it, be it the one opened for it or another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from proxy.upstream.breaker import Breaker
from proxy.upstream.host import Host

if TYPE_CHECKING:
    from proxy.outbox import Pipe
    from proxy.upstream.cluster import Cluster


class Exchange(Protocol):
    """One attempt to have a request answered, as a connection sees it: the router's side.

    up_id: the connection's own number for it (a stream of HTTP/2)."""

    request: Request
    breaker: Breaker
    up_id: int

    def on_connected(self, connection: Connection) -> None:
        """It has a connection now and may send."""

    def on_informational(self, status: int, headers: Headers) -> None:
        """1xx, but for 101: another answer will follow."""

    def on_response(self, response: Response, data: bytes, end: bool) -> None: ...
    def on_data(self, data: bytes) -> None: ...
    def on_end(self, trailers: Headers | None) -> None: ...

    def on_reset(self, reason: str, detail: str = "") -> None:
        """It is over without (the rest of) a response; the connection is gone or was none."""

    def on_writable(self, writable: bool) -> None:
        """The connection's send buffer is full (False) or has room again."""


class Connection(Protocol):
    """A connection to a host: whom it serves it is told with each call, as it may be many.

    breaker: the priority that it counts for. generation: of the cluster's TLS material. transport:
    None before and after its life. How a body is framed is its own business."""

    cluster: Cluster
    host: Host
    breaker: Breaker
    generation: int
    transport: Pipe | None
    idle_since: float
    opened_at: float

    def begin(self, exchange: Exchange) -> None:
        """Takes on an exchange; its head comes next."""

    def send_request(self, exchange: Exchange, request: Request, end: bool) -> None:
        """Sends the head. end: no body follows, and `end_request` will not be called."""

    def send_data(self, exchange: Exchange, data: bytes) -> None: ...

    def end_request(self, exchange: Exchange, trailers: Headers | None) -> None:
        """The whole body was handed to `send_data`."""

    def abandon(self, exchange: Exchange) -> None:
        """`exchange` gives up: it is told nothing more."""

    def pause_reading(self, exchange: Exchange) -> None:
        """No more of its answer for now; what came already may still be told."""

    def resume_reading(self, exchange: Exchange) -> None: ...

    def close(self) -> None:
        """Closes once what was said is written; the host forgets it now."""


def wants_connection(host: Host, breaker: Breaker) -> bool:
    """Should one more be opened for what waits? A host may always have one (Envoy's rule)."""
    if len(host.pending) <= host.connecting:
        return False
    alone = not host.connections and not host.connecting
    return alone or breaker.connections < breaker.max_connections
