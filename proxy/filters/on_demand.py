"""`envoy.filters.http.on_demand`: requests wait for the virtual host or the cluster that they name.

A request whose route is here never comes by: what there is to do is done by streams without a
route, and by the router where it finds no cluster. A virtual host is waited for as long as a
cluster is (Envoy: until the stream is idle for too long).
"""

from __future__ import annotations

from functools import partial

from protos.types import CDS, VHDS
from proxy.config.model.on_demand import OnDemandConfig
from proxy.demand import host_name
from proxy.filters.api import WAIT, Answer, FilterContext, FilterStream, Hooks, Reply, Then

TYPE_URL = "type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.OnDemand"

MAX_HOST_BYTES = 320
"""Of a name that is kept: one of DNS has at most 253 (RFC 1035 section 2.3.4). What stands in it is
the codecs' business (RFC 3986 section 3.2.2)."""

NO_ANSWER = Reply(503, b"no route in time", "NR", "on_demand_virtual_host_timeout")
OVERFLOW = Reply(503, b"too many requests wait for routes", "UO", "on_demand_overflow")


def build(config: OnDemandConfig, context: FilterContext) -> OnDemand:
    return OnDemand(config, context)


class OnDemand:
    def __init__(self, config: OnDemandConfig, context: FilterContext) -> None:
        self._config = config
        self._context = context

    def for_route(self, overrides: tuple[object, ...]) -> Hooks:
        """Envoy: the route's own configuration stands for the filter's."""
        given = overrides[0] if overrides else self._config
        assert isinstance(given, OnDemandConfig)
        of_clusters = partial(self._missing_cluster, given.timeout_s) if given.clusters else None
        return Hooks(
            on_missing_route=partial(self._missing_route, given.timeout_s),
            on_missing_cluster=of_clusters,
        )

    def _missing_route(self, timeout_s: float, stream: FilterStream) -> Answer:
        demand, table = self._context.demand, self._context.table_name
        host = stream.request.authority.lower()
        if demand is None or table not in demand.tables or not _may_be_named(host):
            return None
        name = host_name(table, host.decode(), demand.tables[table])
        source = stream.info.remote[0]
        asked = demand.wait((VHDS, name), partial(_go_on, stream), timeout_s, source)
        if asked == "waits":
            return WAIT
        return OVERFLOW if asked == "full" else None

    def _missing_cluster(
        self, timeout_s: float, stream: FilterStream, name: str, then: Then
    ) -> Answer:
        demand = self._context.demand
        if demand is None:
            return None
        asked = demand.wait((CDS, name), then, timeout_s, stream.info.remote[0])
        if asked == "waits":
            return WAIT
        return OVERFLOW if asked == "full" else None


def _may_be_named(host: bytes) -> bool:
    """By a resource's name, after the last slash. Not by one that stands for others among domains:
    whoever asked for `*` would have all that nobody has asked for yet."""
    wildcard = host[:1] == b"*" or host[-1:] == b"*"
    odd = b"/" in host or wildcard or not host.isascii()
    return 0 < len(host) <= MAX_HOST_BYTES and not odd


def _go_on(stream: FilterStream, answer: bool | None) -> None:
    """What waited for its virtual host."""
    if answer is None:
        stream.resume(NO_ANSWER)
    else:
        stream.restart()
