"""Istio's metrics: what a request is counted in, seen from both of its ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.admin.prometheus import exposition
from proxy.config.filters import STRUCTS
from proxy.config.filters.decode_istio_stats import TYPE_URL
from proxy.config.filters.decode_peer_metadata import header_of, peer_of_header
from proxy.config.model.istio import IstioStats, Peer
from proxy.config.rejected import Rejected
from proxy.connection import PeerCertificate, Secured
from proxy.filters.api import FilterContext
from proxy.filters.grpc_stats import STATE, Call, MessageCounter
from proxy.filters.istio_metrics import OVERFLOW
from proxy.filters.istio_stats import build
from proxy.filters.peer_metadata import DOWNSTREAM_PEER, UPSTREAM_PEER, KnownPeer
from proxy.http.headers import Headers
from proxy.http.message import Response
from proxy.stats import Labelled
from tests.support.filters import FakeStream, context, info, request

WEB = {
    "WORKLOAD_NAME": "web-v1",
    "NAMESPACE": "shop",
    "CLUSTER_ID": "east",
    "LABELS": {"app": "web", "version": "v1"},
}
CART = Peer("cart-v2", "goods", "cart", "v2", "cart", "v2", "west", "cart-v2-x")
CART_ID, WEB_ID = "spiffe://td/ns/goods/sa/cart", "spiffe://td/ns/shop/sa/web"


def sidecar(*, inbound: bool = False, **fields: Any) -> FilterContext:
    given = {"node_id": "sidecar~10.0.0.1~web.shop~svc", "node_metadata": WEB, "inbound": inbound}
    return context(**{**given, "own_uri": WEB_ID if inbound else "", **fields})


def cluster(name: str, **istio: Any) -> SimpleNamespace:
    return SimpleNamespace(name=name, metadata={"istio": istio} if istio else {})


def to_cart(**fields: Any) -> FakeStream:
    """A request of ours that has ended."""
    given: dict[str, Any] = {
        "cluster": cluster("outbound|80||cart.goods.svc.cluster.local"),
        "upstream_tls": Secured(
            "TLSv1.3",
            "c",
            PeerCertificate(uri_sans=(CART_ID,)),
            PeerCertificate(uri_sans=(WEB_ID,)),
        ),
        "status": 200,
        "started": 10.0,
        "ended": 10.03,
        "bytes_sent": 2000,
        "body_received": 7,
        "response": Response(200, Headers()),
    }
    return FakeStream(**{**given, **fields})


def count(config: IstioStats, given: FilterContext, *streams: FakeStream) -> dict[str, Any]:
    """The samples by name: (labels, value)."""
    hooks = build(config, given).for_route(())
    assert hooks is not None and hooks.at_end is not None
    for stream in streams:
        hooks.at_end(stream)
    text = "".join(exposition(given.stats, lambda name, used: used))
    found: dict[str, Any] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_a_request_to_another_workload() -> None:
    stream = to_cart()
    stream.filter_state[UPSTREAM_PEER] = KnownPeer(CART)
    found = count(IstioStats(), sidecar(), stream, stream)
    ((labels, value),) = found["istio_requests_total"]
    assert value == 2
    assert labels == {
        "reporter": "source",
        "source_workload": "web-v1",
        "source_canonical_service": "web",
        "source_canonical_revision": "v1",
        "source_workload_namespace": "shop",
        "source_principal": WEB_ID,
        "source_app": "web",
        "source_version": "v1",
        "source_cluster": "east",
        "destination_workload": "cart-v2",
        "destination_canonical_service": "cart",
        "destination_canonical_revision": "v2",
        "destination_workload_namespace": "goods",
        "destination_principal": CART_ID,
        "destination_app": "cart",
        "destination_version": "v2",
        "destination_cluster": "west",
        "destination_service": "cart.goods.svc.cluster.local",
        "destination_service_name": "cart",
        "destination_service_namespace": "goods",
        "request_protocol": "http",
        "response_code": "200",
        "grpc_response_status": "",
        "response_flags": "-",
        "connection_security_policy": "unknown",
    }
    ((_, took),) = found["istio_request_duration_milliseconds_sum"]
    ((_, sent),) = found["istio_response_bytes_sum"]
    ((_, received),) = found["istio_request_bytes_sum"]
    assert (round(took), sent, received) == (60, 4000, 14)
    below = {one["le"]: value for one, value in found["istio_request_duration_milliseconds_bucket"]}
    assert (below["25"], below["50"], below["+Inf"]) == (0, 2, 2)


def test_an_endpoint_says_who_it_is_where_nobody_has_answered() -> None:
    endpoint = {"istio": {"workload": "cart-v2;goods;cart;v2;west"}}
    lost = to_cart(
        status=503, flags="UF,URX", response=None, upstream_tls=None,
        host=SimpleNamespace(metadata=endpoint, text="10.0.0.9:80", latency=None),
    )  # fmt: skip
    ((labels, _),) = count(IstioStats(), sidecar(), lost)["istio_requests_total"]
    assert labels["destination_workload"] == "cart-v2"
    assert labels["destination_canonical_service"] == "cart"
    assert labels["destination_workload_namespace"] == "goods"
    assert labels["destination_principal"] == labels["source_principal"] == "unknown"
    assert (labels["response_flags"], labels["response_code"]) == ("UF,URX", "503")


def from_cart(**fields: Any) -> FakeStream:
    peer = PeerCertificate(uri_sans=(CART_ID,))
    stream = to_cart(
        upstream_tls=None,
        info=info(tls=True, peer=peer),
        cluster=cluster(
            "inbound|80||",
            services=[{"host": "web.shop.svc.cluster.local", "name": "web", "namespace": "shop"}],
        ),
    )
    stream.filter_state[DOWNSTREAM_PEER] = KnownPeer(CART)
    for name, value in fields.items():
        setattr(stream, name, value)
    return stream


def test_a_request_of_another_workload() -> None:
    found = count(IstioStats(host_fallback=False), sidecar(inbound=True), from_cart())
    ((labels, _),) = found["istio_requests_total"]
    assert labels["reporter"] == "destination"
    assert (labels["source_workload"], labels["source_principal"]) == ("cart-v2", CART_ID)
    assert (labels["destination_workload"], labels["destination_principal"]) == ("web-v1", WEB_ID)
    assert labels["destination_service"] == "web.shop.svc.cluster.local"
    assert labels["destination_service_name"] == "web"
    assert labels["connection_security_policy"] == "mutual_tls"


def test_a_stranger_in_plain_text() -> None:
    stranger = from_cart(info=info(), filter_state={}, cluster=cluster("inbound|80||"))
    found = count(IstioStats(host_fallback=False), sidecar(inbound=True), stranger)
    ((labels, _),) = found["istio_requests_total"]
    assert labels["source_workload"] == labels["source_workload_namespace"] == "unknown"
    assert labels["source_canonical_revision"] == "latest"
    assert labels["destination_service"] == labels["destination_service_name"] == "web"
    assert labels["connection_security_policy"] == "none"


@pytest.mark.parametrize(
    ("to", "service", "name"),
    [
        (None, "a.test", "a.test"),
        (cluster("PassthroughCluster"), "a.test", "PassthroughCluster"),
        (cluster("mine"), "a.test", "a.test"),
        (cluster("outbound|443||api.example.com"), "api.example.com", "api.example.com"),
    ],
)
def test_services(to: Any, service: str, name: str) -> None:
    ((labels, _),) = count(IstioStats(), sidecar(), to_cart(cluster=to))["istio_requests_total"]
    assert (labels["destination_service"], labels["destination_service_name"]) == (service, name)


def test_a_cluster_that_is_told_anew_what_it_serves() -> None:
    given, to = sidecar(), cluster("x", services=[{"host": "a.example", "name": "a"}])
    count(IstioStats(), given, to_cart(cluster=to))
    to.metadata = {"istio": {"services": [{"host": "b.example"}]}}
    found = count(IstioStats(), given, to_cart(cluster=to))["istio_requests_total"]
    names = {
        labels["destination_service"]: labels["destination_service_name"] for labels, _ in found
    }
    assert names == {"a.example": "a", "b.example": "b.example"}


def test_grpc() -> None:
    stream = to_cart(
        request=request("/s/M", "POST", content_type="application/grpc"),
        response_trailers=Headers.of([(b"grpc-status", b"7")]),
    )
    call = Call("", MessageCounter(), MessageCounter())
    call.requests.count, call.responses.count = 3, 2
    stream.filter_state[STATE] = call
    found = count(IstioStats(), sidecar(), stream)
    ((labels, _),) = found["istio_requests_total"]
    assert (labels["request_protocol"], labels["grpc_response_status"]) == ("grpc", "7")
    ((_, asked),) = found["istio_request_messages_total"]
    ((_, answered),) = found["istio_response_messages_total"]
    assert (asked, answered) == (3, 2)


# --------------------------------------------------------------------------- what users change


def decode(**value: Any) -> IstioStats:
    found = STRUCTS[TYPE_URL](value, "f.value")
    assert isinstance(found, IstioStats)
    return found


def test_overrides() -> None:
    config = decode(
        metrics=[
            {"name": "request_bytes", "drop": True},
            {"tags_to_remove": ["source_principal", "response_flags"]},
            {
                "name": "requests_total",
                "dimensions": {
                    "method": "request.method",
                    "destination_version": "'vX'",
                    "tenant": 'request.headers["X-Tenant"]',
                    "code_of": "response.headers['x-code']",
                    "mode": "node.metadata['CLUSTER_ID']",
                },
            },
        ]
    )
    stream = to_cart(request=request("/a?b", "PUT", x_tenant="acme"))
    found = count(config, sidecar(), stream)
    assert "istio_request_bytes_sum" not in found
    ((labels, _),) = found["istio_requests_total"]
    assert not {"source_principal", "response_flags"} & labels.keys()
    assert (labels["method"], labels["tenant"], labels["code_of"]) == ("PUT", "acme", "unknown")
    assert (labels["destination_version"], labels["mode"]) == ("vX", "east")
    ((others, _),) = found["istio_response_bytes_sum"]
    assert "method" not in others and others["destination_version"] == "unknown"


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("request.host", "a.test"),
        ("request.path", "/a?b"),
        ("request.url_path", "/a"),
        ("request.scheme", "http"),
        ("request.protocol", "HTTP/1.1"),
        ("request.useragent", "curl"),
        ("request.referer", "unknown"),
        ("request.id", "unknown"),
        ("response.code", "418"),
        ("response.grpc_status", "unknown"),
        ("response.flags", "-"),
        ("response.code_details", "via_upstream"),
        ("connection.mtls", "true"),
        ("connection.requested_server_name", "sni.test"),
        ("connection.tls_version", "TLSv1.3"),
        ("destination.port", "8080"),
        ("destination.address", "10.0.0.2:8080"),
        ("source.address", "192.0.2.1:5000"),
        ("xds.cluster_name", "inbound|80||"),
        ("xds.route_name", "r"),
        ("node.id", "sidecar~10.0.0.1~web.shop~svc"),
    ],
)
def test_attributes(attribute: str, value: str) -> None:
    certain = info(tls=True, peer=PeerCertificate(), sni="sni.test", tls_version="TLSv1.3")
    stream = from_cart(
        request=request("/a?b", user_agent="curl"), info=certain, status=418, detail="via_upstream"
    )
    config = decode(metrics=[{"name": "requests_total", "dimensions": {"tag": attribute}}])
    ((labels, _),) = count(config, sidecar(inbound=True), stream)["istio_requests_total"]
    assert labels["tag"] == value


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (
            {"metrics": [{"dimensions": {"a": "request.size > 3"}}]},
            "f.value.metrics[0].dimensions[a]",
        ),
        ({"metrics": [{"dimensions": {"a": 3}}]}, "f.value.metrics[0].dimensions[a]"),
        ({"metrics": [{"dimensions": {"a-b": "'x'"}}]}, "f.value.metrics[0].dimensions[a-b]"),
        ({"metrics": [{"dimensions": {"le": "'x'"}}]}, "f.value.metrics[0].dimensions[le]"),
        ({"metrics": [{"dimensions": []}]}, "f.value.metrics[0].dimensions"),
        ({"metrics": [{"name": "mine"}]}, "f.value.metrics[0].name"),
        ({"metrics": [{"match": "true"}]}, "f.value.metrics[0].match"),
        ({"metrics": [{"drop": "yes"}]}, "f.value.metrics[0].drop"),
        ({"metrics": [{"tags_to_remove": [1]}]}, "f.value.metrics[0].tags_to_remove"),
        ({"metrics": {}}, "f.value.metrics"),
        ({"definitions": [{"name": "x"}]}, "f.value.definitions"),
        ({"reporter": "SERVER_GATEWAY"}, "f.value.reporter"),
        ({"tcp_reporting_duration": 5}, "f.value.tcp_reporting_duration"),
        ({"stat_prefix": "x"}, "f.value.stat_prefix"),
    ],
)
def test_what_can_not_be_had_is_refused_by_its_path(value: dict[str, Any], path: str) -> None:
    with pytest.raises(Rejected) as refused:
        decode(**value)
    assert refused.value.path == path


def test_names_in_the_spelling_of_json() -> None:
    found = decode(disableHostHeaderFallback=True, tcpReportingDuration="1.5s", reporter=None)
    assert found == IstioStats(host_fallback=False, interval_s=1.5)


# --------------------------------------------------------------------------- bounds


def test_labels_are_bounded() -> None:
    given = sidecar()
    given.stats.labelled = Labelled(8)  # four metrics for each combination
    streams = [to_cart(status=200 + at) for at in range(5)]
    found = count(IstioStats(), given, *streams, *streams)
    assert [value for _, value in found["istio_requests_total"]] == [2, 2]
    assert given.stats.counter(OVERFLOW).value == 6


def test_who_fills_the_metrics_stops_none_that_is_there() -> None:
    """Nor does a new version of the filter, which has to find its counters again."""
    given = sidecar()
    given.stats.labelled = Labelled(8)
    streams = [to_cart(status=200 + at) for at in range(5)]
    count(IstioStats(), given, *streams)
    found = count(IstioStats(), given, *streams)
    assert [value for _, value in found["istio_requests_total"]] == [2, 2]
    assert [value for _, value in found["istio_request_bytes_count"]] == [2, 2]
    assert given.stats.counter(OVERFLOW).value == 6


def test_what_was_forgotten_is_counted_anew() -> None:
    given = sidecar()
    given.stats.labelled = Labelled(8, idle_s=10.0)
    counting = build(IstioStats(), given).for_route(())
    assert counting is not None and counting.at_end is not None
    for now in (100.0, 200.0, 300.0):
        counting.at_end(to_cart())
        (sample,) = given.stats.labelled.counters["istio_requests_total"].values()
        assert sample.value == 1
        for second in range(20):
            given.stats.turn(now + second)
    assert given.stats.counters["istio_stats.forgotten"].value == 12
    assert given.stats.labelled.counters == {}


@pytest.mark.parametrize(
    ("node", "inbound", "stranger"),
    [("sidecar~1", False, False), ("sidecar~1", True, True), ("router~1", False, True)],
)
def test_strangers(node: str, inbound: bool, stranger: bool) -> None:
    """Who shows no certificate, but for our own workload; at a gateway everybody."""
    given = sidecar(node_id=node, inbound=inbound)
    count(IstioStats(), given, to_cart())
    samples = given.stats.labelled._samples
    assert {one.stranger for one in samples} == {stranger}


def test_messages_that_have_no_room_are_no_requests() -> None:
    given = sidecar()
    given.stats.labelled = Labelled(0)
    stream = to_cart(request=request(content_type="application/grpc"))
    call = stream.filter_state[STATE] = Call("", MessageCounter(), MessageCounter())
    call.requests.count = 7
    assert not [name for name in count(IstioStats(), given, stream) if name.startswith("istio_")]
    assert given.stats.counter(OVERFLOW).value == 1


def test_a_name_without_end_takes_no_room() -> None:
    given = sidecar()
    streams = [to_cart(request=request(), cluster=None) for _ in range(2)]
    for at, stream in enumerate(streams):
        stream.request.authority = b"h" * (300 + at)
    found = count(IstioStats(), given, *streams)
    ((labels, value),) = found["istio_requests_total"]
    assert (labels["destination_service"], value) == ("h" * 256, 2)


@pytest.mark.parametrize(
    ("kind", "protocol"),
    [
        ("application/grpc", "grpc"),
        ("application/grpc+proto", "grpc"),
        ("application/grpc-web", "http"),
        ("application/grpcish", "http"),
    ],
)
def test_what_is_grpc(kind: str, protocol: str) -> None:
    found = count(IstioStats(), sidecar(), to_cart(request=request(content_type=kind)))
    ((labels, _),) = found["istio_requests_total"]
    assert labels["request_protocol"] == protocol


def test_a_header_that_is_long_or_broken_makes_no_label() -> None:
    long = header_of(Peer("w" * 100_000, "n"))
    assert peer_of_header(long) is None
    assert peer_of_header(b"!!") is None
    assert peer_of_header(b"AAAA") is None
    assert peer_of_header(header_of(CART).rstrip(b"=")) == CART
