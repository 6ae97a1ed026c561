"""Revoked identities for a plain Envoy: rules in its routes, and before the relay of TCP ports."""

from __future__ import annotations

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBACPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac

from controlplane.emit.envoy import beside, sidecar
from controlplane.mesh.model import Protocol
from controlplane.snapshot import Draft, check
from controlplane.xds.cache import SnapshotCache
from protos.types import LDS, RDS
from tests.support.mesh import inbound, mesh, node, workload

WHO = ("spiffe://cluster.local/ns/default/sa/a", "spiffe://far/ns/default/sa/b")


def emitted(protocol: Protocol, revoked: tuple[str, ...], *, weft_agent: bool = False) -> Draft:
    port = inbound(protocol=protocol)
    made = mesh(workloads=(workload("messenger-1", port),))
    of = node(http_proxy_port=0, weft_agent=weft_agent)
    draft = sidecar(beside(made, of, revoked), of)
    assert check(draft) == ()
    return draft


def denied(rules: object) -> list[str]:
    (policy,) = rules.policies.values()  # type: ignore[attr-defined]
    (anybody,) = policy.principals
    return [one.authenticated.principal_name.exact for one in anybody.or_ids.ids]


def manager(listener: Listener) -> hcm_pb2.HttpConnectionManager:
    found = hcm_pb2.HttpConnectionManager()
    assert listener.filter_chains[0].filters[-1].typed_config.Unpack(found)
    return found


def test_over_http_they_stand_in_the_routes_and_the_listener_stays_as_it_is() -> None:
    nobody, some = emitted("HTTP", ()), emitted("HTTP", WHO)
    assert nobody.listeners == some.listeners
    (listener,), (routes,) = some.listeners, some.routes
    found = manager(listener)
    assert found.rds.route_config_name == routes.name
    assert found.http_filters[0].name == "weft.revoked"
    (host,) = routes.virtual_hosts
    rules = RBACPerRoute()
    assert host.typed_per_filter_config["weft.revoked"].Unpack(rules)
    assert denied(rules.rbac.rules) == list(WHO)
    assert not nobody.routes[0].virtual_hosts[0].typed_per_filter_config


def test_over_tcp_they_are_refused_before_the_relay() -> None:
    (listener,) = emitted("TCP", WHO).listeners
    first, relay = listener.filter_chains[0].filters
    rules = NetworkRbac()
    assert first.typed_config.Unpack(rules)
    assert denied(rules.rules) == list(WHO)
    (listener,) = emitted("TCP", ()).listeners
    assert list(listener.filter_chains[0].filters) == [relay]


def test_weft_s_proxies_know_them_by_themselves() -> None:
    for protocol in ("HTTP", "TCP"):
        draft = emitted(protocol, WHO, weft_agent=True)
        assert draft == emitted(protocol, (), weft_agent=True)
        assert not draft.routes


def test_a_snapshot_follows_the_revocations() -> None:
    revoked: list[str] = []
    made = mesh(workloads=(workload("messenger-1", inbound()),))
    cache = SnapshotCache(made, lambda _: (), lambda: tuple(revoked))
    envoy, weft = node(http_proxy_port=0), node(http_proxy_port=0, weft_agent=True)
    before, ours = cache.snapshot(envoy), cache.snapshot(weft)
    revoked.append(WHO[0])
    after = cache.snapshot(envoy)
    assert (after.types[LDS] == before.types[LDS], after.types[RDS] == before.types[RDS]) == (
        True,
        False,
    )
    assert cache.snapshot(weft) is ours
