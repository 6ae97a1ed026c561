"""What proxies count of requests and connections, in Istio's metrics."""

from __future__ import annotations

from controlplane.mesh.scopes import Scope
from protos.frozen import frozen


@frozen
class MetricRule:
    """How a metric differs from Istio's. metric: without `istio_`. tags: by name, in CEL."""

    metric: str
    dropped: bool = False
    removed: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


@frozen
class Metrics:
    """rules: of metrics that are not Istio's own. interval_s: between reports of what goes over a
    TCP connection, None for the proxy's own."""

    rules: tuple[MetricRule, ...] = ()
    interval_s: float | None = None


@frozen
class Metered:
    """Of what a workload calls, or a gateway passes on (client), and of what comes in (server);
    None where nothing is counted. connections: of TCP, too."""

    client: Metrics | None = None
    server: Metrics | None = None
    connections: bool = True


NOT_METERED = Metered()
METERED = Metered(Metrics(), Metrics())
"""Where nobody says anything, as in Istio."""


@frozen
class ScopedMetrics:
    scope: Scope
    metered: Metered
