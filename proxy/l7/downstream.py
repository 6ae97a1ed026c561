"""What a stream needs of the connection to its client, whatever version of HTTP that speaks.

Each call names the stream, so that a connection of many needs no object of its own beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxy.connection import ConnectionInfo
from proxy.http.headers import Headers
from proxy.http.message import Response

if TYPE_CHECKING:
    from proxy.l7.stream import Stream


class ClientConnection(Protocol):
    """A connection from a client as the worker sees it. closing: no stream will be begun any more.

    protocol: 'http1' or 'http2', as in Envoy's statistics; '' while it is not known."""

    info: ConnectionInfo
    closing: bool
    protocol: str

    @property
    def idle(self) -> bool:
        """No stream is under way."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes written that the client has not been sent."""

    def close_gently(self) -> None:
        """Says no more; closes when the client has, or after `delayed_close_timeout`."""

    def sweep(self, now: float) -> None:
        """About once a second: is it idle, too slow or too old?"""


class Downstream(ClientConnection, Protocol):
    """It calls `stream.on_downstream_full(True)` when the client does not take what is sent, and
    with False when it does again."""

    def send_informational(self, stream: Stream, status: int, headers: Headers) -> None:
        """1xx, but for 101."""

    def send_response(self, stream: Stream, response: Response, data: bytes, end: bool) -> None:
        """The head, framed for this client, and `data` of the body. end: that was all."""

    def send_data(self, stream: Stream, data: bytes) -> None: ...

    def end_response(self, stream: Stream, trailers: Headers | None) -> None: ...

    def pause_reading(self, stream: Stream) -> None:
        """No more of its request for now; what came already may still be told."""

    def resume_reading(self, stream: Stream) -> None: ...

    def is_full(self, stream: Stream) -> bool:
        """What is sent is not being taken."""

    def abort(self, stream: Stream) -> None:
        """The rest of its answer can't come: cuts the client off, and finishes the stream."""

    def close_after(self, stream: Stream) -> None:
        """This answer is the last one of the connection."""

    def on_stream_end(self, stream: Stream) -> None: ...
