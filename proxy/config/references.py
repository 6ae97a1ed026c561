"""Holds a bootstrap against itself: what it names must be there. Pure, over the model.

Envoy refuses the same at start. What ADS will bring cannot be missed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from proxy.config.model import (
    Bootstrap,
    Cluster,
    CommonTls,
    FilterChain,
    Listener,
    RouteAction,
    RouteConfiguration,
)
from proxy.config.model.on_demand import OnDemandConfig
from proxy.config.rejected import Rejected


def check(bootstrap: Bootstrap) -> None:
    """Raises Rejected for the first name that nothing answers to."""
    clusters = frozenset(each.name for each in bootstrap.clusters)
    for i, listener in enumerate(bootstrap.listeners):
        for path, chain in _chains(listener, f"static_resources.listeners[{i}]"):
            _check_chain(chain, path, bootstrap, clusters)
    for i, cluster in enumerate(bootstrap.clusters):
        _check_cluster(cluster, f"static_resources.clusters[{i}]", bootstrap)


def _chains(listener: Listener, path: str) -> Iterator[tuple[str, FilterChain]]:
    for i, chain in enumerate(listener.filter_chains):
        yield f"{path}.filter_chains[{i}]", chain
    if listener.default_filter_chain is not None:
        yield f"{path}.default_filter_chain", listener.default_filter_chain


def _check_chain(
    chain: FilterChain, path: str, bootstrap: Bootstrap, clusters: frozenset[str]
) -> None:
    if chain.tls is not None:
        _check_tls(chain.tls.common, f"{path}.transport_socket.typed_config", bootstrap)
    where = f"{path}.filters[0].typed_config"
    if chain.http is None:
        return  # Envoy does not look whether a TCP proxy's cluster is there
    if chain.http.rds_name and not chain.http.rds_path and bootstrap.ads is None:
        raise Rejected(f"{where}.rds.config_source", "says ads, and there is no ads_config")
    if bootstrap.ads is None and any(_fetches(one.config) for one in chain.http.filters):
        raise Rejected(f"{where}.http_filters", "one fetches over ads, and there is no ads_config")
    routes = chain.http.route_config
    # Envoy: validate_clusters is true by default for a route table that stands inline.
    if routes is not None and routes.validate_clusters is not False:
        _check_routes(routes, f"{where}.route_config", clusters)


def _fetches(config: object) -> bool:
    return isinstance(config, OnDemandConfig) and config.clusters


def _check_routes(routes: RouteConfiguration, path: str, clusters: frozenset[str]) -> None:
    for i, host in enumerate(routes.virtual_hosts):
        for j, route in enumerate(host.routes):
            if not isinstance(route.action, RouteAction):
                continue
            where = f"{path}.virtual_hosts[{i}].routes[{j}].route"
            for field, name in _targets(route.action):
                if name not in clusters:
                    raise Rejected(f"{where}.{field}", f"there is no cluster `{name}`")


def _targets(action: RouteAction) -> Iterable[tuple[str, str]]:
    if action.cluster is not None:
        yield "cluster", action.cluster
    for i, each in enumerate(action.weighted):
        if each.cluster_header is None:
            yield f"weighted_clusters.clusters[{i}].name", each.name


def _check_cluster(cluster: Cluster, path: str, bootstrap: Bootstrap) -> None:
    by_ads = cluster.type == "EDS" and not cluster.eds_path
    if by_ads and bootstrap.ads is None:
        where = f"{path}.eds_cluster_config.eds_config"
        raise Rejected(where, "says ads, and there is no ads_config")
    if by_ads and bootstrap.ads and cluster.name == bootstrap.ads.cluster:
        raise Rejected(f"{path}.type", "the way to the control plane cannot come from it")
    if cluster.tls is not None:
        _check_tls(cluster.tls.common, f"{path}.transport_socket.typed_config", bootstrap)
    for i, match in enumerate(cluster.tls_matches):
        if match.tls is not None:
            where = f"{path}.transport_socket_matches[{i}].transport_socket.typed_config"
            _check_tls(match.tls.common, where, bootstrap)


def _check_tls(common: CommonTls, path: str, bootstrap: Bootstrap) -> None:
    """Names of secrets over ADS are not checked: `default` may be the proxy's own."""
    secrets = {each.name: each for each in bootstrap.secrets}
    for ref, field in (
        (common.certificate_sds, "tls_certificate_sds_secret_configs"),
        (common.validation_sds, "validation_context_sds_secret_config"),
    ):
        if ref is not None and ref.static and ref.name not in secrets:
            why = f"there is no static secret `{ref.name}`"
            raise Rejected(f"{path}.common_tls_context.{field}", why)
