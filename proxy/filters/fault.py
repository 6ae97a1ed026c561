"""`envoy.filters.http.fault`: delays, aborts and slow answers, to see who can bear them.

Of a request at most one delay, then at most one abort; both together are one active fault. What
the configuration leaves to the request stands in `x-envoy-fault-*` headers.
"""

from __future__ import annotations

from proxy import match
from proxy.config.filters.decode_fault import TYPE_URL, Abort, FaultConfig
from proxy.config.model import FractionalPercent
from proxy.filters.api import WAIT, Answer, Filter, FilterContext, FilterStream, Hooks, Reply
from proxy.http.message import Request

NAMESPACE = "envoy.filters.http.fault"
DELAY = b"x-envoy-fault-delay-request"
DELAY_PERCENT = b"x-envoy-fault-delay-request-percentage"
ABORT = b"x-envoy-fault-abort-request"
ABORT_GRPC = b"x-envoy-fault-abort-grpc-request"
ABORT_PERCENT = b"x-envoy-fault-abort-request-percentage"
THROUGHPUT = b"x-envoy-fault-throughput-response"
THROUGHPUT_PERCENT = b"x-envoy-fault-throughput-response-percentage"
SERVICE_CLUSTER = b"x-envoy-downstream-service-cluster"
SERVICE_NODE = b"x-envoy-downstream-service-node"
NO_LIMIT = 2**63

__all__ = ["TYPE_URL", "build"]


def build(config: FaultConfig, context: FilterContext) -> Filter:
    return Fault(config, context)


class FaultStats:
    """Envoy's `http.<prefix>.fault.*`."""

    def __init__(self, context: FilterContext) -> None:
        self._stats = context.stats
        self._prefix = prefix = f"{context.stat_prefix}fault."
        self.delays = context.stats.counter(f"{prefix}delays_injected")
        self.aborts = context.stats.counter(f"{prefix}aborts_injected")
        self.overflow = context.stats.counter(f"{prefix}faults_overflow")
        self.rate_limits = context.stats.counter(f"{prefix}response_rl_injected")
        self.active = context.stats.gauge(f"{prefix}active_faults")
        self._callers: set[bytes] = set()

    def count_caller(self, caller: bytes, what: str) -> None:
        """A counter per downstream cluster, as long as there are not too many of them."""
        if caller not in self._callers:
            if len(self._callers) >= MAX_CALLERS:
                return
            self._callers.add(caller)
        name = caller.decode("latin-1")
        self._stats.counter(f"{self._prefix}{name}.{what}").value += 1


MAX_CALLERS = 256


class Fault:
    """A route's configuration replaces the filter's."""

    def __init__(self, config: FaultConfig, context: FilterContext) -> None:
        self._config = config
        self._context = context
        self._stats = FaultStats(context)

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        config = overrides[0] if overrides else self._config
        assert isinstance(config, FaultConfig)
        if config.delay is None and config.abort is None and config.rate_limit is None:
            return None
        injector = Injector(config, self._context, self._stats)
        return Hooks(on_request=injector.on_request, at_end=injector.at_end)


class Injector:
    """What one configuration does to requests. A stream that has an active fault says so in its
    filter state under NAMESPACE, False once it is over."""

    def __init__(self, config: FaultConfig, context: FilterContext, stats: FaultStats) -> None:
        self._config = config
        self._context = context
        self._stats = stats
        self._headers = [match.header(each) for each in config.headers]
        self._selects = bool(config.upstream_cluster or config.downstream_nodes or config.headers)

    def on_request(self, stream: FilterStream) -> Answer:
        config, request = self._config, stream.request
        if self._selects and not self._concerns(stream):
            return None
        if config.rate_limit is not None:
            self._limit(stream)
        if config.delay is not None and self._drawn(
            config.delay.share,
            config.delay_percent_key,
            DELAY_PERCENT if config.delay.fixed_s is None else None,
            request,
        ):
            delay_s = self._delay_s(request, config.delay.fixed_s)
            if delay_s > 0 and self._may_begin(stream):
                self._count(stream, "delays_injected")
                stream.flag("DI", "")
                self._context.call_later(delay_s, lambda: self._after_delay(stream))
                return WAIT
        return self._abort(stream)

    def at_end(self, stream: FilterStream) -> None:
        if self._stats.active.value and stream.filter_state.get(NAMESPACE):
            stream.filter_state[NAMESPACE] = False
            self._stats.active.value -= 1

    def _after_delay(self, stream: FilterStream) -> None:
        if stream.filter_state.get(NAMESPACE):  # it may be over by now
            stream.resume(self._abort(stream))

    # ------------------------------------------------------------------ whom it concerns

    def _concerns(self, stream: FilterStream) -> bool:
        config, request = self._config, stream.request
        if config.upstream_cluster:
            route = stream.route
            if route is None or route.cluster_name != config.upstream_cluster:
                return False
        nodes = config.downstream_nodes
        if nodes and request.headers.get(SERVICE_NODE) not in nodes:
            return False
        return all(test(request) for test in self._headers)

    def _drawn(
        self, share: FractionalPercent, key: str, header: bytes | None, request: Request
    ) -> bool:
        """A request may lower its own share, never raise it."""
        numerator = share.numerator
        wanted = _number(request, header) if header is not None else None
        if wanted is not None:
            numerator = min(numerator, wanted)
        above, below = self._context.runtime.fraction(key, numerator, share.denominator)
        return self._context.random.random() * below < above

    def _may_begin(self, stream: FilterStream) -> bool:
        """One active fault per request, `max_active_faults` in all."""
        if stream.filter_state.get(NAMESPACE):
            return True
        limit = self._config.max_active_faults
        default = NO_LIMIT if limit is None else limit
        runtime = self._context.runtime
        if self._stats.active.value >= runtime.integer(self._config.max_active_faults_key, default):
            self._stats.overflow.value += 1
            return False
        stream.filter_state[NAMESPACE] = True
        self._stats.active.value += 1
        return True

    def _count(self, stream: FilterStream, what: str) -> None:
        stats, config = self._stats, self._config
        (stats.delays if what == "delays_injected" else stats.aborts).value += 1
        caller = stream.request.headers.get(SERVICE_CLUSTER)
        if caller and config.counts_by_cluster:
            stats.count_caller(caller, what)
        if config.filter_metadata:
            stream.metadata.setdefault(NAMESPACE, {}).update(config.filter_metadata)

    # ------------------------------------------------------------------ what is done

    def _delay_s(self, request: Request, fixed_s: float | None) -> float:
        if fixed_s is None:
            asked = _number(request, DELAY)
            if asked is None:
                return 0.0
            fixed_s = asked / 1000
        key, default_ms = self._config.delay_duration_key, round(fixed_s * 1000)
        return self._context.runtime.integer(key, default_ms) / 1000

    def _abort(self, stream: FilterStream) -> Reply | None:
        config, request = self._config, stream.request
        abort = config.abort
        if abort is None:
            return None
        by_request = abort.http_status is None and abort.grpc_status is None
        percent_header = ABORT_PERCENT if by_request else None
        if not self._drawn(abort.share, config.abort_percent_key, percent_header, request):
            return None
        reply = self._reply(abort, request)
        if reply is None or not self._may_begin(stream):
            return None
        self._count(stream, "aborts_injected")
        return reply

    def _reply(self, abort: Abort, request: Request) -> Reply | None:
        """An HTTP status goes before a gRPC status."""
        runtime, config = self._context.runtime, self._config
        http, grpc = abort.http_status, abort.grpc_status
        if http is None and grpc is None:
            http, grpc = _status(request), _number(request, ABORT_GRPC)
        if http is not None:
            status = runtime.integer(config.abort_http_status_key, http)
            return Reply(status, b"fault filter abort", "FI", "fault_filter_abort")
        if grpc is None:
            return None
        status = runtime.integer(config.abort_grpc_status_key, grpc)
        return Reply(200, b"fault filter abort", "FI", "fault_filter_abort", grpc_status=status)

    def _limit(self, stream: FilterStream) -> None:
        config, limit = self._config, self._config.rate_limit
        assert limit is not None
        by_request = limit.limit_kbps is None
        kbps = _number(stream.request, THROUGHPUT) if by_request else limit.limit_kbps
        header = THROUGHPUT_PERCENT if by_request else None
        if not kbps or not self._drawn(
            limit.share, config.rate_limit_percent_key, header, stream.request
        ):
            return
        if self._may_begin(stream):
            self._stats.rate_limits.value += 1
            stream.throttle(kbps * 1024)


def _number(request: Request, header: bytes) -> int | None:
    value = request.headers.get(header)
    return int(value) if value is not None and value.isdigit() and len(value) < 16 else None


def _status(request: Request) -> int | None:
    status = _number(request, ABORT)
    return status if status is not None and 200 <= status < 600 else None
