"""`envoy.filters.http.grpc_stats`: how calls end and how many messages go each way, per method.

The statistics stand with the cluster that is called: `cluster.<name>.grpc.<service>.<method>.*`.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.config.filters.decode_grpc_stats import TYPE_URL, GrpcStatsConfig
from proxy.filters.api import Filter, FilterContext, FilterStream, Hooks
from proxy.http.headers import Headers
from proxy.http.message import Response

STATE = "envoy.filters.http.grpc_stats"
GRPC_STATUS = b"grpc-status"
MAX_METHODS = 1024

__all__ = ["TYPE_URL", "build"]


def build(config: GrpcStatsConfig, context: FilterContext) -> Filter:
    return GrpcStats(config, context)


class MessageCounter:
    """Counts the messages in a body that comes in pieces: a byte of flags, four of length."""

    __slots__ = ("_head", "_left", "count")

    def __init__(self) -> None:
        self.count = 0
        self._head = b""
        self._left = 0

    def feed(self, data: bytes) -> int:
        """How many messages begin in `data`."""
        before, at = self.count, 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            take = 5 - len(self._head)
            self._head += data[at : at + take]
            at += take
            if len(self._head) == 5:
                self.count += 1
                self._left = int.from_bytes(self._head[1:], "big")
                self._head = b""
        return self.count - before


@dataclass(slots=True)
class Call:
    """A stream's own. prefix: of its statistics, '' if it has none. As text it is what
    `%FILTER_STATE%` says of it."""

    prefix: str
    requests: MessageCounter
    responses: MessageCounter
    answered: bool = False
    sent_at: float = 0.0

    def __str__(self) -> str:
        return f"{self.requests.count},{self.responses.count}"

    def as_json(self) -> dict[str, str]:
        """As protobuf's JSON has it: 64-bit numbers are text, zero is left out."""
        both = {
            "request_message_count": self.requests.count,
            "response_message_count": self.responses.count,
        }
        return {name: str(count) for name, count in both.items() if count}


_HIDDEN = "weft.grpc_stats"


class GrpcStats:
    def __init__(self, config: GrpcStatsConfig, context: FilterContext) -> None:
        self._config = config
        self._context = context
        self._seen: set[str] = set()

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        return Hooks(
            self._on_request,
            self._on_response,
            self._on_request_data,
            self._on_response_data,
            self._on_request_end,
            self._on_response_end,
        )

    def _on_request(self, stream: FilterStream) -> None:
        request = stream.request
        if not _is_grpc(request.headers):
            return
        cluster = stream.route.cluster_name if stream.route is not None else ""
        prefix = f"cluster.{cluster}.grpc." if cluster else ""
        if prefix:
            prefix = self._of_method(prefix, request.path)
        stream.filter_state[_HIDDEN] = Call(prefix, MessageCounter(), MessageCounter())

    def _of_method(self, prefix: str, path: bytes) -> str:
        """'' if nothing is counted: a path that is not `/service/method`."""
        parts = path.partition(b"?")[0].split(b"/")
        if len(parts) != 3 or parts[0] or not parts[1] or not parts[2]:
            return ""
        service, method = parts[1].decode("latin-1"), parts[2].decode("latin-1")
        config = self._config
        if not config.all_methods and (service, method) not in config.methods:
            return prefix
        if config.replaces_dots:
            service = service.replace(".", "_")
        name = f"{prefix}{service}.{method}."
        if name not in self._seen:
            if len(self._seen) >= MAX_METHODS:
                return prefix
            self._seen.add(name)
        return name

    def _count(self, call: Call, what: str, by: int = 1) -> None:
        self._context.stats.counter(call.prefix + what).value += by

    def _on_request_data(self, stream: FilterStream, data: bytes, end: bool) -> bytes:
        call = stream.filter_state.get(_HIDDEN)
        if call is not None and (new := call.requests.feed(data)):
            self._on_messages(stream, call, "request_message_count", new)
        return data

    def _on_response_data(self, stream: FilterStream, data: bytes, end: bool) -> bytes:
        call = stream.filter_state.get(_HIDDEN)
        if call is not None and call.answered and (new := call.responses.feed(data)):
            self._on_messages(stream, call, "response_message_count", new)
        return data

    def _on_messages(self, stream: FilterStream, call: Call, what: str, new: int) -> None:
        if self._config.emits_filter_state:
            stream.filter_state[STATE] = call
        if call.prefix:
            self._count(call, what, new)

    def _on_request_end(self, stream: FilterStream, trailers: Headers | None) -> None:
        call = stream.filter_state.get(_HIDDEN)
        if call is not None:
            call.sent_at = self._context.now()

    def _on_response(self, stream: FilterStream, response: Response) -> None:
        call = stream.filter_state.get(_HIDDEN)
        if call is not None:
            call.answered = response.status == 200 and _is_grpc(response.headers)
            self._on_status(call, response.headers)

    def _on_response_end(self, stream: FilterStream, trailers: Headers | None) -> None:
        call = stream.filter_state.get(_HIDDEN)
        if call is None:
            return
        if trailers is not None:
            self._on_status(call, trailers)
        if self._config.upstream_time and call.prefix and call.sent_at:
            time_ms = (self._context.now() - call.sent_at) * 1000
            self._context.stats.histogram(f"{call.prefix}upstream_rq_time").record(time_ms)

    def _on_status(self, call: Call, headers: Headers) -> None:
        status = headers.get(GRPC_STATUS)
        if status is None or not call.prefix:
            return
        # An upstream must not make statistics without end.
        self._count(call, status.decode() if status.isdigit() and len(status) < 4 else "unknown")
        self._count(call, "success" if status == b"0" else "failure")
        self._count(call, "total")


def _is_grpc(headers: Headers) -> bool:
    kind = headers.get(b"content-type") or b""
    return kind == b"application/grpc" or kind.startswith(b"application/grpc+")
