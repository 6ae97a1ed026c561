"""Traces of a connection manager: of which requests there are spans, and what those say.

Its step stands before all filters of a chain, its hook behind their replies, and it is told of the
end as an access log is, so that a manager without tracing pays nothing for it. A request that is
not sampled has an identity all the same, which goes on in its headers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from proxy.config.model.tracing import ManagerTracing, RouteTracing
from proxy.filters.api import Hooks, Reply
from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from proxy.l7 import span_tags
from proxy.l7.attempt_spans import EVENTS, AttemptSpan
from proxy.l7.facts import wall_time
from proxy.l7.format import compile_header_value
from proxy.l7.reply import told_reset
from proxy.l7.sampling import Decider, Reason
from proxy.tracing.span import Kind, Span
from proxy.tracing.tracers import Tracer

if TYPE_CHECKING:
    from proxy.l7.logged import Logged
    from proxy.l7.stream import Stream
    from proxy.l7.worker import Worker
    from proxy.stats import Counter, Stats

DECORATOR: Final = b"x-envoy-decorator-operation"
REASONS = ("random_sampling", "service_forced", "client_enabled", "not_traceable", "health_check")
AT_END = "DownstreamEnd"


@dataclass(frozen=True, slots=True)
class Local:
    """What spans say of this proxy."""

    node_id: str = ""
    zone: str = ""
    cluster: str = ""


class Traced:
    """Of one stream. span: None where there is no tracer, or nobody knows whose trace it is.
    decorated: the operation that the other side is told of. named: a format names the span, and
    decorators have no say. attempt: the last one, where each has a span."""

    __slots__ = ("_owner", "attempt", "decorated", "named", "reason", "route", "span")

    def __init__(
        self, owner: Tracing, span: Span | None, reason: Reason, route: RouteTracing | None
    ) -> None:
        self._owner = owner
        self.span = span
        self.reason = reason
        self.route = route
        self.decorated = ""
        self.named = False
        self.attempt: AttemptSpan | None = None

    def begin_attempt(self, stream: Stream) -> None:
        """A host was chosen."""
        if self.span is not None and self._owner.spawns:
            self.attempt = self._owner.next_attempt(self, self.span, stream)

    def on_attempt(self, stream: Stream) -> None:
        """The request is about to be sent."""
        if self.span is None:
            return
        if self.attempt is not None and stream.up is not None:
            self.attempt.protocol = stream.up.protocol
        span = self.span if self.attempt is None else self.attempt.span
        self._owner.write(stream.request.headers, span)

    def on_answer(self, response: Response) -> None:
        if self.attempt is not None:
            self.attempt.answered(response)

    def on_cancel(self) -> None:
        if self.attempt is not None:
            self.attempt.canceled()

    def on_loss(self, reason: str) -> None:
        if self.attempt is not None:
            self.attempt.lost(*told_reset(reason))

    def on_attempt_end(self) -> None:
        if self.attempt is not None:
            self.attempt.over()


class Tracing:
    """egress: requests leave the node here (the listener's direction), so that its spans are those
    of a client."""

    def __init__(
        self,
        config: ManagerTracing,
        tracer: Tracer | None,
        egress: bool,
        local: Local,
        worker: Worker,
        stats: Stats,
        stat_prefix: str,
        packs: bool,
    ) -> None:
        """packs: request ids bear the decision on."""
        self._config = config
        self._tracer = tracer
        self._egress = egress
        self.spawns = config.spawns
        self._random = worker.random
        self._kind: Kind = "CLIENT" if egress and not config.spawns else "SERVER"
        self._local = local
        self._decider = Decider(config.by_id, packs, worker.random, worker.runtime)
        self._tags = span_tags.compile_tags(config.tags)
        prefix = f"http.{stat_prefix}.tracing."
        self._counts: Mapping[str, Counter] = {
            reason: stats.counter(prefix + reason) for reason in REASONS
        }
        begin: Any = self.begin  # of a Stream, which is more than a filter may know
        answer: Any = self.on_response
        self.hooks = Hooks(on_request=begin, on_response=answer)

    # ------------------------------------------------------------------ its begin

    def begin(self, stream: Stream) -> None:
        """The first step of a chain."""
        if stream.traced is not None:  # its route was looked for again
            return
        request, entry = stream.request, stream.route
        route = None if entry is None else entry.tracing
        sampling = self._config.sampling if route is None else route.sampling
        reason = self._decider.decide(request.headers, sampling)
        self._counts[reason].value += 1
        span = self._span(request, stream.started, reason != "not_traceable")
        traced = stream.traced = Traced(self, span, reason, route)
        stream.has_extras = True
        traced.named = bool(self._operation(route))
        if not traced.named:
            self._decorate(traced, stream, request)

    def _operation(self, route: RouteTracing | None) -> str:
        """The format of its name; '' for none."""
        return (route.operation if route is not None else "") or self._config.operation

    def _span(self, request: Request, started: float, wanted: bool) -> Span | None:
        if self._tracer is None:
            return None
        span = self._tracer.start(request, self._kind, self._egress, wanted)
        if span is not None:
            span.started = wall_time(started)
        return span

    def _decorate(self, traced: Traced, stream: Stream, request: Request) -> None:
        """`decorator` names the span, and the other side's; where both have one, the client's
        names the server's span and the server's answer the client's."""
        decorator = None if stream.route is None else stream.route.decorator
        span, headers = traced.span, request.headers
        if decorator is not None and decorator.operation:
            if span is not None:
                span.name = decorator.operation
            if decorator.propagate:
                traced.decorated = decorator.operation
        if self._egress:
            if traced.decorated:
                headers.set(DECORATOR, traced.decorated.encode())
            return
        told = headers.get(DECORATOR)
        if told is None:
            return
        if told:
            if span is not None:
                span.name = told.decode("utf-8", "replace")
            traced.decorated = ""
        headers.remove(DECORATOR)

    # ------------------------------------------------------------------ its answer

    def on_response(self, stream: Stream, response: Response) -> Reply | None:
        traced, headers = stream.traced, response.headers
        if traced is None or traced.named:
            return None
        if not self._egress:
            if traced.decorated:
                headers.set(DECORATOR, traced.decorated.encode())
            return None
        told = headers.get(DECORATOR)
        if told is not None:
            if told and traced.span is not None:
                traced.span.name = told.decode("utf-8", "replace")
            headers.remove(DECORATOR)
        return None

    # ------------------------------------------------------------------ its end

    def write(self, headers: Headers, span: Span) -> None:
        assert self._tracer is not None, "there is a span"
        self._tracer.write(headers, span)

    def log(self, logged: Logged) -> None:
        """Called as a logger of the manager is."""
        stream = cast("Stream", logged)
        traced = stream.traced
        if traced is None or stream.log_type != AT_END:
            return
        if stream.health_check:
            self._counts[traced.reason].value -= 1
            self._counts["health_check"].value += 1
            return
        span = traced.span
        if span is not None and span.sampled and not span.ended:
            if traced.attempt is not None:
                self._tell(traced.attempt, stream, traced.route, last=True)
            self._finish(span, stream, traced.route)

    def next_attempt(self, traced: Traced, span: Span, stream: Stream) -> AttemptSpan:
        """The one before is over, if there was one."""
        if traced.attempt is not None and span.sampled:
            self._tell(traced.attempt, stream, traced.route, last=False)
        return AttemptSpan(span, stream, self._random)

    def _tell(
        self, attempt: AttemptSpan, stream: Stream, route: RouteTracing | None, *, last: bool
    ) -> None:
        span = attempt.finish(stream, last)
        if self._config.verbose:
            span_tags.events(span, stream, EVENTS)
        self._add_tags(span, stream, route)
        operation = (route.upstream_operation if route is not None else "") or (
            self._config.upstream_operation
        )
        if operation:
            span.name = _named(operation)(stream).decode("utf-8", "replace")
        assert self._tracer is not None, "there is a span"
        self._tracer.take(span)

    def _add_tags(self, span: Span, stream: Stream, route: RouteTracing | None) -> None:
        tags = self._tags if route is None else {**self._tags, **_tags_of(route)}
        for name, of in tags.items():
            if value := of(stream):
                span.tags[name] = value

    def _finish(self, span: Span, stream: Stream, route: RouteTracing | None) -> None:
        config = self._config
        span.tags["node_id"] = self._local.node_id
        span.tags["zone"] = self._local.zone
        span_tags.of_request(span, stream, config.max_path_bytes)
        span_tags.of_outcome(span, stream)
        if config.verbose:
            span_tags.events(span, stream)
        self._add_tags(span, stream, route)
        operation = self._operation(route)
        if operation:
            span.name = _named(operation)(stream).decode("utf-8", "replace")
        span.ended = wall_time(stream.ended)
        assert self._tracer is not None, "there is a span"
        self._tracer.take(span)


@lru_cache(1024)
def _tags_of(route: RouteTracing) -> Mapping[str, span_tags.Custom]:
    return span_tags.compile_tags(route.tags)


@lru_cache(1024)
def _named(text: str) -> Callable[[Stream], bytes]:
    return compile_header_value(text)
