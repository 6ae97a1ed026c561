"""Health checks, outlier detection's intervals and their event logs, for the clusters that have
any."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import time
from typing import Protocol

from proxy.config.model import HealthCheck
from proxy.upstream.cluster import Cluster
from proxy.upstream.events import health_line, outlier_line
from proxy.upstream.health import ClusterHealth
from proxy.upstream.health_check import HealthEvent
from proxy.upstream.host import Host
from proxy.upstream.outlier import OutlierEvent


class LineSink(Protocol):
    def write(self, line: bytes) -> None: ...


OpenLog = Callable[[str], LineSink]


class Watches:
    """open_log: a path to what takes lines; raises OSError where it can't be opened.
    outlier_log_path: `cluster_manager.outlier_detection.event_log_path`, '' for none."""

    def __init__(self, open_log: OpenLog, outlier_log_path: str = "") -> None:
        self._open = open_log
        self._outlier_log = open_log(outlier_log_path) if outlier_log_path else None
        self._running: dict[str, ClusterHealth] = {}

    def apply(self, cluster: Cluster, tls_for: Callable[[Host], object], renewed: bool) -> None:
        """`cluster` has been configured. renewed: its TLS material is another."""
        config = cluster.config
        if self._outlier_log is not None:
            cluster.outlier_log = partial(_tell_outlier, self._outlier_log, cluster.name)
        running = self._running.get(cluster.name)
        if config.health_check is None and config.outlier is None:
            if running is not None:
                self.close(cluster.name)
                cluster.health = None
            return
        if running is None:
            running = self._running[cluster.name] = ClusterHealth(cluster)
            cluster.health = running
        running.configure(
            config.health_check, tls_for, self._log(cluster.name, config.health_check), renewed
        )

    def _log(self, name: str, check: HealthCheck | None) -> Callable[[HealthEvent], None]:
        if check is None or not check.event_log_paths:
            return _nobody
        return partial(_tell_health, [self._open(path) for path in check.event_log_paths],
                       check, name)  # fmt: skip

    def close(self, name: str) -> None:
        running = self._running.pop(name, None)
        if running is not None:
            running.stop()

    def waits(self, name: str) -> bool:
        """The cluster's hosts have not all had their first check, and it waits for them."""
        running = self._running.get(name)
        return running is not None and running.waiting


def _nobody(_: HealthEvent) -> None:
    return None


def _tell_outlier(sink: LineSink, cluster: str, event: OutlierEvent) -> None:
    sink.write(outlier_line(event, cluster, time()))


def _tell_health(
    sinks: list[LineSink], check: HealthCheck, cluster: str, event: HealthEvent
) -> None:
    line = health_line(event, check.check, cluster, time())
    for sink in sinks:
        sink.write(line)
