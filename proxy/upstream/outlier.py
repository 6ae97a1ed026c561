"""Passive health: hosts that keep failing are taken out for a while (Envoy's outlier detection).

Consecutive errors only. Decisions are pure functions of what was seen and `now`; the cluster acts
on them. A host comes back after base_ejection_time times the number of its ejections, bounded.
"""

from __future__ import annotations

from proxy.config.model import OutlierDetection
from proxy.stats import Stats
from proxy.upstream.host import Host

GATEWAY_ERRORS = (502, 503, 504)


class OutlierDetector:
    """Told of every outcome; says when a host is to go out (True) or to come back."""

    def __init__(self, config: OutlierDetection, stats: Stats, prefix: str) -> None:
        self.config = config
        self._stats = stats
        self._prefix = f"{prefix}outlier_detection."
        self._next_interval = 0.0
        self._active = stats.gauge(f"{self._prefix}ejections_active")

    def on_response(self, host: Host, status: int, hosts: int, ejected: int, now: float) -> bool:
        """A response came. True: eject `host`, one of `hosts` of which `ejected` are out."""
        host.consecutive_local = 0
        if status < 500:
            host.consecutive_5xx = 0
            host.consecutive_gateway = 0
            return False
        return self._server_error(host, status in GATEWAY_ERRORS, hosts, ejected, now)

    def on_local_error(self, host: Host, hosts: int, ejected: int, now: float) -> bool:
        """No response: connect failure, reset or timeout. Counts as a gateway error unless
        `split_external_local_origin_errors`."""
        config = self.config
        if not config.split_external_local_origin_errors:
            return self._server_error(host, True, hosts, ejected, now)
        host.consecutive_local += 1
        if host.consecutive_local < config.consecutive_local_origin_failure:
            return False
        host.consecutive_local = 0
        enforced = config.enforcing_consecutive_local_origin_failure
        return self._eject("consecutive_local_origin_failure", enforced, host, hosts, ejected, now)

    def _server_error(
        self, host: Host, gateway: bool, hosts: int, ejected: int, now: float
    ) -> bool:
        config = self.config
        host.consecutive_5xx += 1
        host.consecutive_gateway = host.consecutive_gateway + 1 if gateway else 0
        if 0 < config.consecutive_5xx <= host.consecutive_5xx:
            host.consecutive_5xx = 0
            enforced = config.enforcing_consecutive_5xx
            if self._eject("consecutive_5xx", enforced, host, hosts, ejected, now):
                return True
        if 0 < config.consecutive_gateway_failure <= host.consecutive_gateway:
            host.consecutive_gateway = 0
            enforced = config.enforcing_consecutive_gateway_failure
            name = "consecutive_gateway_failure"
            return self._eject(name, enforced, host, hosts, ejected, now)
        return False

    def _eject(
        self, why: str, enforcing: int, host: Host, hosts: int, ejected: int, now: float
    ) -> bool:
        """`enforcing` percentages other than 0 and 100 were refused when decoded."""
        counter = self._stats.counter
        counter(f"{self._prefix}ejections_detected_{why}").value += 1
        if host.ejected_until or host.removed or not enforcing:
            return False
        too_many = 100 * (ejected + 1) > self.config.max_ejection_percent * hosts
        if too_many and (ejected or not self.config.always_eject_one_host):
            counter(f"{self._prefix}ejections_overflow").value += 1
            return False
        counter(f"{self._prefix}ejections_enforced_{why}").value += 1
        counter(f"{self._prefix}ejections_enforced_total").value += 1
        self._active.value += 1
        host.ejections += 1
        out_s = min(
            self.config.base_ejection_time_s * host.ejections, self.config.max_ejection_time_s
        )
        host.ejected_until = now + out_s
        return True

    def due_back(self, hosts: list[Host], now: float) -> list[Host]:
        """The hosts whose time out is over; they are back when this returns. Once an interval
        the others are forgiven one of their earlier ejections."""
        if now >= self._next_interval:
            self._next_interval = now + self.config.interval_s
            for host in hosts:
                if host.ejections and not host.ejected_until:
                    host.ejections -= 1
        back = [host for host in hosts if host.ejected_until and now >= host.ejected_until]
        for host in back:
            self.forgive(host)
        return back

    def forgive(self, host: Host) -> None:
        """`host` is no longer out: its time is over or it left the cluster."""
        host.ejected_until = 0.0
        host.consecutive_5xx = host.consecutive_gateway = host.consecutive_local = 0
        self._active.value -= 1
