"""Passive health: hosts that fail are taken out for a while (Envoy's outlier detection).

A host's monitor hears every outcome and counts; that is all a request pays. What is a row of
failures is judged at once, what is a rate when an interval ends, and at an interval's end hosts
come back, too. An ejection lasts base_ejection_time times the host's back-off, bounded, and some
jitter; the back-off falls by one for each interval that the host stays in.

Decisions only: whoever made the detector tells it the time, and acts on `on_change`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from random import Random

from proxy.config.model import OutlierDetection
from proxy.stats import Stats
from proxy.upstream.host import Host

GATEWAY_ERRORS = (502, 503, 504)
UNKNOWN = -1.0
# What is told of: Envoy's type of the event, and its name in statistics.
CONSECUTIVE_5XX = ("CONSECUTIVE_5XX", "consecutive_5xx")
GATEWAY_FAILURE = ("CONSECUTIVE_GATEWAY_FAILURE", "consecutive_gateway_failure")
LOCAL_FAILURE = ("CONSECUTIVE_LOCAL_ORIGIN_FAILURE", "consecutive_local_origin_failure")
SUCCESS_RATE = ("SUCCESS_RATE", "success_rate")
LOCAL_SUCCESS_RATE = ("SUCCESS_RATE_LOCAL_ORIGIN", "local_origin_success_rate")
FAILURES = ("FAILURE_PERCENTAGE", "failure_percentage")
LOCAL_FAILURES = ("FAILURE_PERCENTAGE_LOCAL_ORIGIN", "local_origin_failure_percentage")
Kind = tuple[str, str]
KINDS = (
    CONSECUTIVE_5XX, GATEWAY_FAILURE, LOCAL_FAILURE, SUCCESS_RATE, LOCAL_SUCCESS_RATE,
    FAILURES, LOCAL_FAILURES,
)  # fmt: skip


class Rate:
    """Outcomes of one origin: those of this interval, and the share of successes in the last one
    (percent, UNKNOWN without enough requests)."""

    __slots__ = ("last_success", "last_total", "percent", "success", "total")

    def __init__(self) -> None:
        self.success = self.total = 0
        self.last_success = self.last_total = 0
        self.percent = UNKNOWN

    def turn(self) -> None:
        """An interval is over."""
        self.last_success, self.last_total = self.success, self.total
        self.success = self.total = 0
        self.percent = UNKNOWN


@dataclass(frozen=True, slots=True)
class Average:
    """Of a cluster's hosts in the last interval, percent; hosts below `threshold` go out."""

    mean: float = UNKNOWN
    threshold: float = UNKNOWN


@dataclass(frozen=True, slots=True)
class OutlierEvent:
    """kind: None for a host that comes back. since_s: from the opposite event to this one."""

    host: Host
    kind: Kind | None
    enforced: bool
    ejections: int
    since_s: float | None
    rate: float = UNKNOWN
    average: Average = Average()


class HostMonitor:
    """What is known of one host. back_off: how many base times the next ejection lasts, before it
    is raised. Times are monotonic seconds, None where it never happened."""

    __slots__ = (
        "_detector",
        "back_off",
        "consecutive_5xx",
        "consecutive_gateway",
        "consecutive_local",
        "ejected_at",
        "ejections",
        "external",
        "host",
        "jitter_s",
        "local",
        "unejected_at",
    )

    def __init__(self, detector: OutlierDetector, host: Host) -> None:
        self._detector = detector
        self.host = host
        self.external = Rate()
        self.local = Rate()
        self.forget_rows()
        self.ejections = 0
        self.back_off = 0
        self.jitter_s = 0.0
        self.ejected_at: float | None = None
        self.unejected_at: float | None = None

    def forget_rows(self) -> None:
        self.consecutive_5xx = self.consecutive_gateway = self.consecutive_local = 0

    def on_status(self, status: int, now: float) -> None:
        """An answer came (of gRPC: with the HTTP status that its own one stands for)."""
        external = self.external
        external.total += 1
        if status < 500 or status > 599:
            external.success += 1
            self.consecutive_5xx = self.consecutive_gateway = 0
            return
        config = self._detector.config
        if status in GATEWAY_ERRORS:
            self.consecutive_gateway += 1
            if self.consecutive_gateway == config.consecutive_gateway_failure:
                self._detector.on_row(self, GATEWAY_FAILURE, now)
        else:
            self.consecutive_gateway = 0
        self.consecutive_5xx += 1
        if self.consecutive_5xx == config.consecutive_5xx:
            self._detector.on_row(self, CONSECUTIVE_5XX, now)

    def on_local_error(self, status: int, now: float) -> None:
        """No answer: connect failure, reset or timeout. status: what stands for it, 503 or 504."""
        config = self._detector.config
        if not config.split_external_local_origin_errors:
            self.on_status(status, now)
            return
        self.local.total += 1
        self.consecutive_local += 1
        if self.consecutive_local == config.consecutive_local_origin_failure:
            self._detector.on_row(self, LOCAL_FAILURE, now)

    def on_connected(self) -> None:
        """A connection was had, for a request that may still fail."""
        if self._detector.config.split_external_local_origin_errors:
            self.local.total += 1
            self.local.success += 1
            self.consecutive_local = 0

    def on_tcp_connected(self, now: float) -> None:
        """A connection was had and is all that was wanted."""
        if self._detector.config.split_external_local_origin_errors:
            self.on_connected()
        else:
            self.on_status(200, now)


class OutlierDetector:
    """on_change(host): it is out now, or back. log: gets every event, None for nobody."""

    def __init__(
        self,
        config: OutlierDetection,
        stats: Stats,
        prefix: str,
        random: Random,
        on_change: Callable[[Host], None],
        log: Callable[[OutlierEvent], None] | None = None,
    ) -> None:
        self.config = config
        self.monitors: dict[Host, HostMonitor] = {}
        self.ejected = 0
        self.average = Average()
        self.local_average = Average()
        self._random = random
        self._on_change = on_change
        self._log = log
        self._stats = stats
        self._prefix = f"{prefix}outlier_detection."
        self._active = stats.gauge(f"{self._prefix}ejections_active")
        for _, name in KINDS:
            stats.counter(f"{self._prefix}ejections_detected_{name}")
            stats.counter(f"{self._prefix}ejections_enforced_{name}")
        for name in ("overflow", "enforced_total", "total", "consecutive_5xx", "success_rate"):
            stats.counter(f"{self._prefix}ejections_{name}")

    def watch(self, hosts: Iterable[Host]) -> None:
        """These are the hosts now. Those that stay keep what is known of them."""
        known, self.monitors = self.monitors, {}
        for host in hosts:
            monitor = known.pop(host, None) or HostMonitor(self, host)
            self.monitors[host] = host.monitor = monitor
        for host in known:
            host.monitor = None
            if host.ejected:
                host.ejected = False
                self._count_ejected(-1)

    def _count_ejected(self, change: int) -> None:
        self.ejected += change
        self._active.value += change

    # ------------------------------------------------------------------ rows

    def on_row(self, monitor: HostMonitor, kind: Kind, now: float) -> None:
        """So many failures in a row. Those of a host that is out already count on."""
        if monitor.host.ejected or monitor.host.removed:
            return
        self._eject(monitor, kind, now)
        if kind == CONSECUTIVE_5XX:
            self._count("consecutive_5xx")  # an old name of Envoy's
            monitor.consecutive_5xx = 0
        elif kind == GATEWAY_FAILURE:
            monitor.consecutive_gateway = 0
        else:
            monitor.consecutive_local = 0

    def _count(self, name: str) -> None:
        self._stats.counter(f"{self._prefix}ejections_{name}").value += 1

    def _eject(self, monitor: HostMonitor, kind: Kind, now: float) -> None:
        config = self.config
        self._count(f"detected_{kind[1]}")
        share = 100.0 * (self.ejected + 1) / len(self.monitors)
        alone = config.always_eject_one_host and not self.ejected
        if share > min(100, config.max_ejection_percent) and not alone:
            self._count("overflow")
            return
        if kind in (CONSECUTIVE_5XX, SUCCESS_RATE):
            self._count("total")  # an old name of Envoy's
        enforced = self._enforced(kind)
        if enforced:
            self._take_out(monitor, kind, now)
        self._tell(monitor, kind, enforced, now)

    def _take_out(self, monitor: HostMonitor, kind: Kind, now: float) -> None:
        config = self.config
        self._count_ejected(1)
        self._count("enforced_total")
        self._count(f"enforced_{kind[1]}")
        monitor.host.ejected = True
        monitor.ejections += 1
        monitor.ejected_at = now
        jitter_ms = int(config.max_ejection_time_jitter_s * 1000)
        monitor.jitter_s = self._random.randrange(jitter_ms + 1) / 1000 if jitter_ms else 0.0
        base_s = config.base_ejection_time_s
        if monitor.back_off * base_s < config.max_ejection_time_s + base_s:
            monitor.back_off += 1
        self._on_change(monitor.host)

    def _enforced(self, kind: Kind) -> bool:
        config = self.config
        percent = {
            CONSECUTIVE_5XX: config.enforcing_consecutive_5xx,
            GATEWAY_FAILURE: config.enforcing_consecutive_gateway_failure,
            LOCAL_FAILURE: config.enforcing_consecutive_local_origin_failure,
            SUCCESS_RATE: config.enforcing_success_rate,
            LOCAL_SUCCESS_RATE: config.enforcing_local_origin_success_rate,
            FAILURES: config.enforcing_failure_percentage,
            LOCAL_FAILURES: config.enforcing_failure_percentage_local_origin,
        }[kind]
        return percent >= 100 or (percent > 0 and self._random.randrange(100) < percent)

    def _tell(self, monitor: HostMonitor, kind: Kind, enforced: bool, now: float) -> None:
        if self._log is None:
            return
        before = monitor.unejected_at
        since_s = now - before if before is not None else None
        local = kind in (LOCAL_SUCCESS_RATE, LOCAL_FAILURES)
        rate = monitor.local.percent if local else monitor.external.percent
        average = self.local_average if local else self.average
        event = OutlierEvent(
            monitor.host, kind, enforced, monitor.ejections, since_s, rate, average
        )
        self._log(event)

    # ------------------------------------------------------------------ intervals

    def on_interval(self, now: float) -> None:
        """`interval` has gone by."""
        for monitor in list(self.monitors.values()):
            if monitor.host.ejected and self._is_over(monitor, now):
                self.take_back(monitor.host, now)
            monitor.external.turn()
            monitor.local.turn()
        self.average = self._judge_rates([m.external for m in self.monitors.values()],
                                         SUCCESS_RATE, FAILURES, now)  # fmt: skip
        self.local_average = self._judge_rates([m.local for m in self.monitors.values()],
                                               LOCAL_SUCCESS_RATE, LOCAL_FAILURES, now)  # fmt: skip
        for monitor in self.monitors.values():
            back_at = monitor.unejected_at
            stayed = back_at is not None and now - back_at >= self.config.interval_s
            if stayed and monitor.back_off and not monitor.host.ejected:
                monitor.back_off -= 1

    def _is_over(self, monitor: HostMonitor, now: float) -> bool:
        config = self.config
        base_s = config.base_ejection_time_s * monitor.back_off
        out_s = min(base_s, config.max_ejection_time_s) + monitor.jitter_s
        return monitor.ejected_at is None or now - monitor.ejected_at >= out_s

    def take_back(self, host: Host, now: float) -> None:
        """`host` serves again: its time is over, or a health check says that it is well."""
        monitor = self.monitors[host]
        host.ejected = False
        self._count_ejected(-1)
        monitor.forget_rows()
        monitor.unejected_at = now
        self._on_change(host)
        if self._log is not None:
            before = monitor.ejected_at
            since_s = now - before if before is not None else None
            self._log(OutlierEvent(host, None, False, monitor.ejections, since_s))

    def _judge_rates(
        self, rates: Sequence[Rate], by_rate: Kind, by_failures: Kind, now: float
    ) -> Average:
        """Ejects whom the last interval's rates condemn. Rates are in the order of `monitors`."""
        config = self.config
        least = (config.success_rate_minimum_hosts, config.failure_percentage_minimum_hosts)
        if len(self.monitors) < min(least):
            return Average()
        enough = min(config.success_rate_request_volume, config.failure_percentage_request_volume)
        seen: list[tuple[HostMonitor, Rate]] = []
        for monitor, rate in zip(self.monitors.values(), rates, strict=True):
            if rate.last_total and not monitor.host.ejected:
                percent = rate.last_success * 100.0 / rate.last_total
                if rate.last_total >= enough:
                    rate.percent = percent
                    seen.append((monitor, rate))
        average = self._below_average(seen, by_rate, now)
        valid = [
            (m, r) for m, r in seen if r.last_total >= config.failure_percentage_request_volume
        ]
        if valid and len(valid) >= config.failure_percentage_minimum_hosts:
            for monitor, rate in valid:
                failed = 100.0 - rate.percent
                if failed >= config.failure_percentage_threshold and not monitor.host.ejected:
                    self._eject(monitor, by_failures, now)
        return average

    def _below_average(
        self, seen: Iterable[tuple[HostMonitor, Rate]], kind: Kind, now: float
    ) -> Average:
        config = self.config
        valid = [(m, r) for m, r in seen if r.last_total >= config.success_rate_request_volume]
        if not valid or len(valid) < config.success_rate_minimum_hosts:
            return Average()
        average = spread([r.percent for _, r in valid], config.success_rate_stdev_factor / 1000)
        if kind == SUCCESS_RATE:
            self.average = average
        else:
            self.local_average = average
        for monitor, rate in valid:
            if rate.percent < average.threshold:
                self._count("success_rate")  # an old name of Envoy's
                self._eject(monitor, kind, now)
        return average


def spread(percents: Sequence[float], factor: float) -> Average:
    """Mean, and the mean less `factor` standard deviations."""
    mean = sum(percents) / len(percents)
    variance = sum((percent - mean) ** 2 for percent in percents) / len(percents)
    return Average(mean, mean - factor * sqrt(variance))
