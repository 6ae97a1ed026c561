"""Sidecars tell each other who they are, as Istio's do, and nobody else."""

from __future__ import annotations

from base64 import b64decode, b64encode
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from proxy.config.filters import STRUCTS
from proxy.config.filters.decode_peer_metadata import TYPE_URL, header_of, peer_of_header
from proxy.config.model.istio import Peer, PeerMetadata
from proxy.config.rejected import Rejected
from proxy.filters.api import FilterContext, Hooks
from proxy.filters.peer_metadata import (
    DOWNSTREAM_PEER,
    ID,
    MAX_KEPT_BYTES,
    MAX_PEERS,
    METADATA,
    UPSTREAM_PEER,
    KnownPeer,
    build,
)
from proxy.http.headers import Headers
from proxy.http.message import Response
from proxy.l7.format import compile_header_value
from tests.support.filters import FakeStream, context, request

HEADERS: list[Any] = [{"istio_headers": {}}]
EXTERNAL: list[Any] = [{"istio_headers": {"skip_external_clusters": True}}]
INBOUND = {
    "downstream_discovery": [*HEADERS, {"workload_discovery": {}}],
    "downstream_propagation": HEADERS,
}
OUTBOUND = {"upstream_discovery": HEADERS, "upstream_propagation": EXTERNAL}
CART = Peer("cart-v2", "goods", "cart", "v2", "cart", "v2", "west", "cart-v2-x")


def node(**fields: Any) -> FilterContext:
    labels = {"app": "web", "service.istio.io/canonical-name": "shop-web"}
    metadata = {"WORKLOAD_NAME": "web-v1", "NAMESPACE": "shop", "LABELS": labels}
    return context(node_id="sidecar~1", node_metadata=metadata, **fields)


def hooks(value: dict[str, Any], given: FilterContext | None = None) -> Hooks:
    config = STRUCTS[TYPE_URL](value, "f.value")
    assert isinstance(config, PeerMetadata)
    found = build(config, given or node()).for_route(())
    assert found is not None
    return found


def asked(found: Hooks, stream: FakeStream) -> None:
    assert found.on_request is not None and found.on_request(stream) is None


def answered(found: Hooks, stream: FakeStream, *pairs: tuple[bytes, bytes]) -> Response:
    response = Response(200, Headers.of([(b"a", b"1"), *pairs]))
    if found.on_response is not None:
        assert found.on_response(stream, response) is None
    return response


def test_who_asks_says_who_it_is() -> None:
    clusters = {"a": SimpleNamespace(name="a", hosts=(), metadata={})}
    stream = FakeStream(request=request(x_envoy_peer_metadata="spoofed"))
    asked(hooks(OUTBOUND, node(clusters=clusters)), stream)
    assert stream.request.headers.all(ID) == [b"sidecar~1"]
    (told,) = stream.request.headers.all(METADATA)
    found = MessageToDict(Struct.FromString(b64decode(told, validate=True)))
    assert found["WORKLOAD_NAME"] == "web-v1" and found["NAMESPACE"] == "shop"
    labels = {"app": "web", "service.istio.io/canonical-name": "shop-web"}
    assert found["LABELS"] == labels


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("a", {"istio": {"external": True}}),
        ("PassthroughCluster", {}),
        ("unknown", None),
    ],
)
def test_outside_of_the_mesh_nobody_hears_it(name: str, metadata: Any) -> None:
    one = SimpleNamespace(name=name, hosts=(), metadata=metadata)
    stream = FakeStream(route=SimpleNamespace(cluster_name=name))
    clusters = {name: one} if metadata is not None else {}
    asked(hooks(OUTBOUND, node(clusters=clusters)), stream)
    assert len(stream.request.headers) == 0


def test_a_service_whose_cluster_is_still_to_come() -> None:
    stream = FakeStream(route=SimpleNamespace(cluster_name="outbound|80||a.b.svc.cluster.local"))
    asked(hooks(OUTBOUND), stream)
    assert METADATA in stream.request.headers


def test_who_answers_says_so_to_one_who_did() -> None:
    inbound = hooks(INBOUND)
    pairs = {"x_envoy_peer_metadata_id": "i", "x_envoy_peer_metadata": header_of(CART).decode()}
    stream = FakeStream(request=request(b="2", **pairs))
    asked(inbound, stream)
    assert stream.request.headers.shape.names == (b"b",)
    assert stream.filter_state[DOWNSTREAM_PEER].peer == CART
    response = answered(inbound, stream)
    assert response.headers.get(ID) == b"sidecar~1" and METADATA in response.headers


def test_a_client_of_its_own_hears_nothing() -> None:
    inbound, stream = hooks(INBOUND), FakeStream()
    asked(inbound, stream)
    assert answered(inbound, stream).headers.shape.names == (b"a",)
    assert DOWNSTREAM_PEER not in stream.filter_state


def test_an_answer_is_read_and_passed_on_without() -> None:
    outbound, stream = hooks(OUTBOUND), FakeStream()
    pairs = ((ID, b"i"), (METADATA, header_of(CART)))
    assert answered(outbound, stream, *pairs).headers.shape.names == (b"a",)
    assert stream.filter_state[UPSTREAM_PEER].peer == CART


def test_one_peer_is_one_object_while_there_are_few() -> None:
    outbound = hooks(OUTBOUND)
    streams = [FakeStream() for _ in range(3)]
    for stream in streams[:2]:
        answered(outbound, stream, (METADATA, header_of(CART)))
    first, second = (one.filter_state[UPSTREAM_PEER] for one in streams[:2])
    assert first is second
    for at in range(MAX_PEERS):
        answered(outbound, FakeStream(), (METADATA, b"%d" % at))
    answered(outbound, streams[2], (METADATA, header_of(CART)))
    assert streams[2].filter_state[UPSTREAM_PEER].peer == CART


def test_no_line_of_a_log_ends_within_a_name() -> None:
    found = peer_of_header(header_of(Peer("web\nsecond\u2028line", "n", "web", app="\x1b[31m")))
    assert found is not None
    assert (found.workload, found.app) == ("web_second_line", "_[31m")


def test_long_words_are_understood_but_not_kept() -> None:
    said = Struct()
    said.update({"NAMESPACE": "goods", "X": "x" * MAX_KEPT_BYTES, "LABELS": ["none"], "NAME": 7})
    value = b64encode(said.SerializeToString())
    inbound, streams = hooks(INBOUND), [FakeStream() for _ in range(2)]
    for stream in streams:
        stream.request = request(x_envoy_peer_metadata=value.decode())
        asked(inbound, stream)
    first, second = (stream.filter_state[DOWNSTREAM_PEER] for stream in streams)
    assert first.peer == second.peer == Peer(namespace="goods")
    assert first is not second


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (":PLAIN", b"workload=cart-v2,name=cart-v2-x,namespace=goods,service=cart"),
        ("", b'{"name":"cart-v2-x","namespace":"goods","service":"cart","workload":"cart-v2"}'),
        (":FIELD:workload", b"cart-v2"),
        (":FIELD:cluster", b""),
    ],
)
def test_what_logs_say_of_a_peer(how: str, said: bytes) -> None:
    """As Istio's `WorkloadMetadataObject` has it."""
    known = KnownPeer(Peer("cart-v2", "goods", "cart", instance="cart-v2-x"))
    stream: Any = SimpleNamespace(filter_state={DOWNSTREAM_PEER: known})
    assert compile_header_value(f"%FILTER_STATE(downstream_peer{how})%")(stream) == said


def test_nothing_to_do() -> None:
    assert build(PeerMetadata(), node()).for_route(()) is None


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"shared_with_upstream": True}, "f.value.shared_with_upstream"),
        ({"additional_labels": ["role"]}, "f.value.additional_labels"),
        ({"downstream_discovery": [{"baggage": {}}]}, "f.value.downstream_discovery[0].baggage"),
        ({"upstream_propagation": {}}, "f.value.upstream_propagation"),
        (
            {"upstream_propagation": [{"istio_headers": {"skip_external_clusters": 1}}]},
            "f.value.upstream_propagation[0].istio_headers.skip_external_clusters",
        ),
        ({"upstream_propagation": [3]}, "f.value.upstream_propagation[0]"),
    ],
)
def test_what_can_not_be_had_is_refused_by_its_path(value: dict[str, Any], path: str) -> None:
    with pytest.raises(Rejected) as refused:
        STRUCTS[TYPE_URL](value, "f.value")
    assert refused.value.path == path
