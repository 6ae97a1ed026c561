"""The control plane's own Prometheus metrics. One registry per instance, for tests and reloads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from controlplane.emit.fitting import LEFT_OUT
from controlplane.mesh.model import Status
from controlplane.xds.culprits import REJECTED
from controlplane.xds.push_counts import PushCounts
from controlplane.xds.service import Connection
from controlplane.xds.stream import Answer
from controlplane.xds.troubles import FROZEN
from controlplane.xds.wire import Push
from protos.types import short_name

NOT_IN_FORCE = {LEFT_OUT: "left_out", FROZEN: "kept", REJECTED: "rejected"}
"""Code of a status -> the label `reason`."""


class Metrics:
    """Implements the streams' Observer."""

    def __init__(self, connections: Callable[[], Iterable[Connection]]) -> None:
        self.registry = CollectorRegistry()
        prefix = "weft_controlplane_"
        self._counts = PushCounts(self.registry, prefix)
        self._rejects = Counter(
            f"{prefix}xds_rejects", "NACKs of proxies.", ["type"], registry=self.registry
        )
        self._statuses = Gauge(
            f"{prefix}config_statuses",
            "Objects with an error, a warning or a note.",
            ["severity"],
            registry=self.registry,
        )
        self._not_in_force = Gauge(
            f"{prefix}not_in_force",
            "Statuses of what was taken but is not in force at some proxy.",
            ["reason"],
            registry=self.registry,
        )
        proxies = Gauge(
            f"{prefix}connected_proxies", "Open discovery streams.", registry=self.registry
        )
        proxies.set_function(lambda: sum(1 for _ in connections()))

    def configured(self, statuses: Sequence[Status]) -> None:
        severities = [status.severity for status in statuses]
        for severity in ("error", "warning", "info"):
            self._statuses.labels(severity).set(severities.count(severity))

        codes = [status.code for status in statuses]
        for code, reason in NOT_IN_FORCE.items():
            self._not_in_force.labels(reason).set(codes.count(code))

    def text(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)

    def changed(self, connection: Connection) -> None:
        """Gauges are read when asked for."""

    def pushed(self, connection: Connection, push: Push) -> None:
        self._counts.pushed(push.type_url, push.size)

    def rejected(self, connection: Connection, answer: Answer) -> None:
        self._rejects.labels(short_name(answer.type_url)).inc()

    def converged(self, connection: Connection, after_s: float) -> None:
        self._counts.converged(after_s)
