"""Envoy's Node, read once at the edge."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node as EnvoyNode

from controlplane.emit.node import ASKS_FOR_LISTENERS, BadNode, Node, parse


def envoy_node(**metadata: Any) -> EnvoyNode:
    made = EnvoyNode(id="sidecar~1", user_agent_name="envoy")
    made.user_agent_build_version.version.major_number = 1
    made.user_agent_build_version.version.minor_number = 40
    made.metadata.update(metadata)
    return made


def test_the_words_are_istios() -> None:
    words = {
        "WORKLOAD_NAME": "w",
        "NAMESPACE": "n",
        "SERVICE_ACCOUNT": "s",
        "HTTP_PROXY_PORT": "15080",
        "WEFT_AGENT": "true",
        "WEFT_GATEWAY": "127.0.0.1:8080",
    }
    node = parse(envoy_node(LABELS={"b": "2", "a": "1"}, OWN=[1, 2], **words))
    assert node == Node(
        "sidecar~1",
        "n",
        "w",
        "s",
        {"a": "1", "b": "2"},
        15080,
        gateway=("127.0.0.1", 8080),
        weft_agent=True,
        user_agent="envoy 1.40.0",
        metadata=words,
    )


def test_defaults_are_kubernetes_ones() -> None:
    node = parse(envoy_node())
    assert (node.namespace, node.service_account, node.workload) == ("default", "default", "")
    assert (node.http_proxy_port, node.gateway, node.weft_agent) == (0, None, False)


def test_numbers_and_bools_without_quotes_are_taken() -> None:
    node = parse(envoy_node(HTTP_PROXY_PORT=15080, WEFT_AGENT=True))
    assert (node.http_proxy_port, node.weft_agent) == (15080, True)


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"HTTP_PROXY_PORT": "0"}, "HTTP_PROXY_PORT"),
        ({"HTTP_PROXY_PORT": "65536"}, "HTTP_PROXY_PORT"),
        ({"HTTP_PROXY_PORT": 1.5}, "HTTP_PROXY_PORT"),
        ({"NAMESPACE": ["x"]}, "NAMESPACE"),
        ({"WEFT_GATEWAY": "8080"}, "WEFT_GATEWAY"),
        ({"WEFT_GATEWAY": "127.0.0.1:x"}, "WEFT_GATEWAY"),
        ({"WORKLOAD_NAME": "x\x1b[2J"}, "WORKLOAD_NAME"),
        ({"NAME": "x\n10:00 revoked"}, "NAME"),
    ],
)
def test_what_cannot_be_served_names_the_field(metadata: dict[str, Any], field: str) -> None:
    with pytest.raises(BadNode, match=f"node.metadata.{field}"):
        parse(envoy_node(**metadata))


def test_an_id_is_needed() -> None:
    with pytest.raises(BadNode, match=r"node\.id"):
        parse(EnvoyNode())


@pytest.mark.parametrize(
    "said", ["a\x1b]0;b", "a\nb", "x" * 1025], ids=["escapes", "lines", "long"]
)
def test_it_is_one_that_a_log_can_show(said: str) -> None:
    with pytest.raises(BadNode, match=r"node\.id: expected at most 1024 printable characters"):
        parse(EnvoyNode(id=said))
    shown = parse(EnvoyNode(id="x", user_agent_name=said)).user_agent
    assert shown.isprintable()
    assert len(shown) == min(len(said), 1024)


@pytest.mark.parametrize(
    ("name", "metadata", "dialect"),
    [
        ("gRPC C-core linux", {}, "grpc"),
        ("gRPC Node Pure JS", {}, "grpc"),
        ("envoy", {"GENERATOR": "grpc"}, "grpc"),
        ("envoy", {}, "envoy"),
        ("weft", {}, "envoy"),
    ],
)
def test_grpcs_own_clients_are_known_by_their_name(
    name: str, metadata: dict[str, str], dialect: str
) -> None:
    message = EnvoyNode(id="x", user_agent_name=name)
    message.metadata.update(metadata)
    assert parse(message).dialect == dialect


@pytest.mark.parametrize(
    ("node_id", "metadata", "mode"),
    [
        ("sidecar~10.0.0.7~a.b~b.svc.cluster.local", {}, "REDIRECT"),
        ("sidecar~1", {"INTERCEPTION_MODE": "TPROXY"}, "TPROXY"),
        ("sidecar~1", {"INTERCEPTION_MODE": "REDIRECT", "HTTP_PROXY_PORT": "15080"}, "REDIRECT"),
        ("sidecar~1", {"INTERCEPTION_MODE": "NONE"}, "NONE"),
        ("sidecar~1", {"HTTP_PROXY_PORT": "15080"}, "NONE"),
        ("sidecar~1", {"WEFT_GATEWAY": "127.0.0.1:8080"}, "NONE"),
        ("sidecar~1", {"GENERATOR": "grpc"}, "NONE"),
        ("router~10.0.0.7~a.b~b.svc.cluster.local", {}, "NONE"),
        ("something", {}, "NONE"),
    ],
)
def test_a_sidecar_intercepts_connections_unless_it_is_a_proxy_by_name(
    node_id: str, metadata: dict[str, str], mode: str
) -> None:
    message = envoy_node(**metadata)
    message.id = node_id
    node = parse(message)
    assert (node.interception, node.intercepts) == (mode, mode != "NONE")


def test_an_unknown_mode_of_interception_is_told() -> None:
    with pytest.raises(BadNode, match="INTERCEPTION_MODE: 'IPTABLES' is not one of REDIRECT"):
        parse(envoy_node(INTERCEPTION_MODE="IPTABLES"))


@pytest.mark.parametrize(
    ("metadata", "features", "expected"),
    [
        ({"INTERCEPTION_MODE": "NONE", "WEFT_ON_DEMAND": "true"}, (), True),
        ({"INTERCEPTION_MODE": "NONE"}, (ASKS_FOR_LISTENERS,), False),
        ({"INTERCEPTION_MODE": "REDIRECT", "WEFT_ON_DEMAND": "true"}, (), False),
        ({"INTERCEPTION_MODE": "REDIRECT"}, (ASKS_FOR_LISTENERS,), True),
        ({"INTERCEPTION_MODE": "TPROXY"}, ("another", ASKS_FOR_LISTENERS), True),
        (
            {"INTERCEPTION_MODE": "TPROXY", "WEFT_ON_DEMAND": "false"},
            (ASKS_FOR_LISTENERS,),
            False,
        ),
        (
            {"INTERCEPTION_MODE": "REDIRECT", "WEFT_GATEWAY": "127.0.0.1:8080"},
            (ASKS_FOR_LISTENERS,),
            False,
        ),
    ],
)
def test_who_intercepts_connections_knows_all_places_or_asks_for_them(
    metadata: dict[str, str], features: tuple[str, ...], expected: bool
) -> None:
    message = envoy_node(**metadata)
    message.client_features.extend(features)
    assert parse(message).on_demand is expected


@pytest.mark.parametrize(
    ("node_id", "expected"),
    [("sidecar~fd00::7~a.b~c", True), ("sidecar~10.0.0.7~a.b~c", False), ("fd00::7", False)],
)
def test_the_family_of_its_addresses_stands_in_the_id(node_id: str, expected: bool) -> None:
    message = envoy_node()
    message.id = node_id
    assert parse(message).ipv6 is expected
