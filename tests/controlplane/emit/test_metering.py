"""Istio's metrics on the wire: two filters, for Weft's proxies only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node as EnvoyNode
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf.json_format import MessageToDict
from udpa.type.v1.typed_struct_pb2 import TypedStruct

from controlplane.emit import clusters
from controlplane.emit.endpoints import MADE_BY, load_assignment
from controlplane.emit.envoy import emit
from controlplane.emit.localities import groups
from controlplane.emit.node import COUNTS_CONNECTIONS as CONFIGURED
from controlplane.emit.node import parse
from controlplane.mesh.metering import Metered, MetricRule, Metrics, ScopedMetrics
from controlplane.mesh.model import Endpoint, Mesh
from controlplane.mesh.scopes import Scope
from controlplane.snapshot import Draft
from proxy.config.decode_lds import listener as read
from proxy.config.model.istio import Expression, IstioStats, MetricOverride, PeerMetadata
from proxy.xds.client import COUNTS_CONNECTIONS as SAID
from tests.support.mesh import TRUST_DOMAIN, endpoint, inbound, node, service, workload

CHANGED = Metrics(
    (MetricRule("requests_total", False, ("response_flags",), (("a", "request.host"),)),), 7.5
)


def draft(*metrics: ScopedMetrics, weft: bool = True) -> Draft:
    mesh = Mesh(TRUST_DOMAIN, workloads=(workload("messenger-1", inbound()),), metrics=metrics)
    return emit(mesh, node(weft_agent=weft))


def filters(found: Draft) -> dict[str, list[tuple[str, Any]]]:
    """Of each listener the filters of Istio's, in their order among all, with their values."""
    made: dict[str, list[tuple[str, Any]]] = {}
    for one in found.listeners:
        manager = hcm_pb2.HttpConnectionManager()
        assert one.filter_chains[0].filters[-1].typed_config.Unpack(manager)
        steps = made[one.name] = []
        for each in manager.http_filters:
            value = TypedStruct()
            known = each.typed_config.Unpack(value)
            assert each.is_optional == known, "a proxy that does not know it leaves it out"
            steps.append((each.name, MessageToDict(value.value) if known else None))
    return made


def test_both_sides() -> None:
    found = filters(draft())
    told: dict[str, Any] = {"istio_headers": {}}
    exchange = {"downstream_discovery": [told], "downstream_propagation": [told]}
    assert found["127.0.0.1_9101"] == [
        ("istio.metadata_exchange", exchange),
        ("istio.stats", {"disable_host_header_fallback": True}),
        ("envoy.filters.http.router", None),
    ]
    first, *_, last, _ = found["127.0.0.1_15080"]
    outside = {"istio_headers": {"skip_external_clusters": True}}
    exchange = {"upstream_discovery": [told], "upstream_propagation": [outside]}
    assert (first, last) == (("istio.metadata_exchange", exchange), ("istio.stats", {}))


def test_messages_are_counted_where_ports_speak_grpc() -> None:
    here = (workload("messenger-1", inbound(protocol="GRPC")),)
    found = filters(emit(Mesh(TRUST_DOMAIN, workloads=here), node(weft_agent=True)))
    names = [name for name, _ in found["127.0.0.1_9101"]]
    assert names[1:] == ["envoy.filters.http.grpc_stats", "istio.stats", names[-1]]


def test_a_plain_envoy_gets_neither() -> None:
    names = [name for steps in filters(draft(weft=False)).values() for name, _ in steps]
    assert names and not any(name.startswith("istio.") for name in names)


@pytest.mark.parametrize("metered", [Metered(), Metered(client=Metrics())])
def test_nor_does_a_side_that_counts_nothing(metered: Metered) -> None:
    found = filters(draft(ScopedMetrics(Scope(), metered)))
    assert [name for name, _ in found["127.0.0.1_9101"]] == ["envoy.filters.http.router"]
    counts = any(name == "istio.stats" for name, _ in found["127.0.0.1_15080"])
    assert counts == (metered.client is not None)


def test_the_proxy_reads_what_was_changed() -> None:
    """For the workload that is meant, and no other."""
    others = ScopedMetrics(Scope("other"), Metered())
    found = draft(others, ScopedMetrics(Scope("default"), Metered(CHANGED, CHANGED)))
    for one in found.listeners:
        chain = read(one).filter_chains[0]
        assert chain.http is not None
        configs = [each.config for each in chain.http.filters]
        (stats,) = (each for each in configs if isinstance(each, IstioStats))
        override = MetricOverride(
            "requests_total", False, ("response_flags",), (("a", Expression("request.host")),)
        )
        assert (stats.overrides, stats.interval_s) == ((override,), 7.5)
        assert any(isinstance(each, PeerMetadata) for each in configs)


# --------------------------------------------------------------------------- who is where


@pytest.mark.parametrize(
    ("name", "labels", "told"),
    [
        ("shop/web-1", {}, "web-1;shop;web-1;;"),
        ("shop/web-1", {"app": "web", "version": "v2"}, "web-1;shop;web;v2;"),
        (
            "shop/web-v2-5f4d7-x9z",
            {"app": "web", "service.istio.io/canonical-name": "w", MADE_BY: "5f4d7"},
            "web-v2;shop;w;;",
        ),
    ],
)
def test_endpoints_say_who_serves_there(name: str, labels: dict[str, str], told: str) -> None:
    endpoint = Endpoint("10.0.0.1", {80: 8080}, labels, workload=name)
    made = load_assignment("c", groups((endpoint,)), 80).endpoints[0].lb_endpoints[0]
    assert made.metadata.filter_metadata["istio"]["workload"] == told


def test_clusters_say_whom_they_lead_to() -> None:
    hosts = ("web.shop.svc.cluster.local", "web.example.com")
    cluster = clusters.inbound(replace(inbound(), hostnames=hosts))
    assert MessageToDict(cluster.metadata.filter_metadata["istio"])["services"] == [
        {"host": hosts[0], "name": "web", "namespace": "shop"},
        {"host": hosts[1], "name": hosts[1]},
    ]
    outside = service(hosts[1], endpoint(80), external=True)
    ((cluster, _),) = clusters.of_service(outside, ())
    assert cluster.metadata.filter_metadata["istio"]["external"] is True


# --------------------------------------------------------------------------- connections


@pytest.mark.parametrize("knows", [True, False])
def test_connections_are_counted_by_who_can(knows: bool) -> None:
    """A proxy that does not say so may not know the filter, and no such filter is optional."""
    here = (workload("messenger-1", inbound(protocol="TCP")),)
    one = node(weft_agent=True, http_proxy_port=0, counts_connections=knows)
    (listener,) = emit(Mesh(TRUST_DOMAIN, workloads=here), one).listeners
    chain = read(listener).filter_chains[0]
    assert chain.tcp is not None
    assert (chain.counted is not None) == knows


def test_a_proxy_says_that_it_counts_connections() -> None:
    message = EnvoyNode(id="x", client_features=[CONFIGURED])
    assert (CONFIGURED, parse(message).counts_connections) == (SAID, True)
    assert not parse(EnvoyNode(id="x")).counts_connections


@pytest.mark.parametrize("interval_s", [0.001, 7.5, 1234567.0, 315_360_000.0])
def test_a_proxy_reads_every_interval(interval_s: float) -> None:
    metrics = ScopedMetrics(Scope(), Metered(Metrics(interval_s=interval_s)))
    (made,) = [one for one in draft(metrics).listeners if one.name == "127.0.0.1_15080"]
    manager = hcm_pb2.HttpConnectionManager()
    assert made.filter_chains[0].filters[-1].typed_config.Unpack(manager)
    (text,) = [
        MessageToDict(value.value)["tcp_reporting_duration"]
        for one in manager.http_filters
        if one.name == "istio.stats" and one.typed_config.Unpack(value := TypedStruct())
    ]
    assert float(text.removesuffix("s")) == interval_s
    read(made)
