"""What an authorization filter counts: for itself, and for the cluster a request was meant for."""

from __future__ import annotations

from proxy.filters.api import FilterContext, FilterStream
from proxy.stats import Counter

NAMES = ("ok", "denied", "error", "disabled", "failure_mode_allowed", "invalid")
OF_CLUSTERS = frozenset({"ok", "denied", "error", "failure_mode_allowed"})


class AuthzStats:
    """Envoy's `http.<prefix>.ext_authz.*` and `cluster.<name>.ext_authz.*`."""

    def __init__(self, context: FilterContext, stat_prefix: str) -> None:
        self._stats = context.stats
        self._between = f"{stat_prefix}." if stat_prefix else ""
        prefix = f"{context.stat_prefix}ext_authz.{self._between}"
        self._own = {name: context.stats.counter(prefix + name) for name in NAMES}
        self._of_clusters: dict[tuple[str, str], Counter] = {}

    def count(self, stream: FilterStream, name: str) -> None:
        self._own[name].value += 1
        cluster = stream.route.cluster_name if stream.route is not None else ""
        if not cluster or name not in OF_CLUSTERS:
            return
        counter = self._of_clusters.get((cluster, name))
        if counter is None:
            full = f"cluster.{cluster}.ext_authz.{self._between}{name}"
            counter = self._of_clusters[cluster, name] = self._stats.counter(full)
        counter.value += 1

    def charge(self, stream: FilterStream, status: int) -> None:
        """As if the cluster had answered."""
        cluster = stream.route.cluster_name if stream.route is not None else ""
        if cluster:
            self._stats.statuses(f"cluster.{cluster}.upstream_rq_", single=True).add(status)
