"""`envoy.filters.http.health_check`: answers for the proxy's health, or for the one behind it.

Without `pass_through_mode` the answer is made here: from the admin's `/healthcheck/fail`, and from
the health of upstream clusters. With it the question goes on, and its answer may be kept a while.
"""

from __future__ import annotations

from proxy import match
from proxy.config.filters.decode_health_check import TYPE_URL, HealthCheckConfig
from proxy.filters.api import ClusterView, Filter, FilterContext, FilterStream, Hooks, Reply
from proxy.http.message import Response

CHECKED_CLUSTER = b"x-envoy-upstream-healthchecked-cluster"
FAIL_NOW = b"x-envoy-immediate-health-check-fail"
DEGRADED = b"x-envoy-degraded"

__all__ = ["TYPE_URL", "build"]


def build(config: HealthCheckConfig, context: FilterContext) -> Filter:
    return HealthCheck(config, context)


class HealthCheck:
    """_kept: the status that was answered last and whether it said it was degraded, good until
    _kept_until: windows of `cache_time` follow each other from the start, as Envoy's timer goes."""

    def __init__(self, config: HealthCheckConfig, context: FilterContext) -> None:
        self._config = config
        self._context = context
        self._tests = [match.header(each) for each in config.headers]
        self._node_cluster = context.node_cluster.encode()
        self._started = context.now()
        self._kept: tuple[int, bool] = (200, False)
        self._kept_until = 0.0

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        return Hooks(self._on_request, self._on_response)

    def _on_request(self, stream: FilterStream) -> Reply | None:
        if not all(test(stream.request) for test in self._tests):
            return None
        stream.health_check = True
        if self._context.failing():
            return Reply(503, b"", "LH", "health_check_failed")
        if self._config.pass_through:
            if self._context.now() >= self._kept_until:
                return None
            status, degraded = self._kept
            extra = ((DEGRADED, b""),) if degraded else ()
            flag = "" if 200 <= status < 300 else "LH"
            return Reply(status, b"", flag, "health_check_cached", extra)
        return self._of_clusters()

    def _of_clusters(self) -> Reply:
        for name, percent in self._config.min_healthy:
            wrong = _objection(self._context.clusters.get(name), percent)
            if wrong:
                return Reply(503, b"", "LH", f"health_check_failed_{wrong}")
        detail = (
            "health_check_ok_cluster_healthy" if self._config.min_healthy else "health_check_ok"
        )
        return Reply(200, b"", "", detail)

    def _on_response(self, stream: FilterStream, response: Response) -> None:
        if not stream.health_check:
            if self._context.failing():
                response.headers.set(FAIL_NOW, b"true")
            return
        cache_s = self._config.cache_time_s
        if cache_s:
            now = self._context.now()
            windows = int((now - self._started) / cache_s) + 1
            self._kept = (response.status, DEGRADED in response.headers)
            self._kept_until = self._started + windows * cache_s
        response.headers.set(CHECKED_CLUSTER, self._node_cluster)


def _objection(cluster: ClusterView | None, percent: float) -> str:
    """What is wrong with a cluster of which so many hosts must be healthy, '' if nothing is."""
    if cluster is None:
        return "no_cluster_found"
    total = len(cluster.hosts)
    if not total:
        return "cluster_empty" if percent else ""
    healthy = sum(host.healthy or host.degraded for host in cluster.hosts)
    return "" if 100 * healthy >= total * int(percent) else "cluster_unhealthy"
