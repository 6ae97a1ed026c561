"""The table of xDS resource types against the messages of xds-protos."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from protos.types import CDS, EDS, LDS, PUSH_ORDER, RDS, SDS, SHORT_NAMES, VHDS, short_name

CLASSES: list[tuple[str, type[Message], str]] = [
    (CDS, Cluster, "CDS"),
    (EDS, ClusterLoadAssignment, "EDS"),
    (LDS, Listener, "LDS"),
    (RDS, RouteConfiguration, "RDS"),
    (VHDS, VirtualHost, "VHDS"),
    (SDS, Secret, "SDS"),
]


@pytest.mark.parametrize(("type_url", "message", "name"), CLASSES)
def test_type_urls_are_those_that_any_writes(
    type_url: str, message: type[Message], name: str
) -> None:
    packed = Any()
    packed.Pack(message())
    assert packed.type_url == type_url
    assert short_name(type_url) == name


def test_the_tables_hold_the_same_types_once() -> None:
    """Virtual hosts are served, too, but no proxy of ours asks for them by themselves."""
    assert set(SHORT_NAMES) == {type_url for type_url, _, _ in CLASSES}
    assert {*PUSH_ORDER, VHDS} == set(SHORT_NAMES)
    assert len(SHORT_NAMES) == len(CLASSES)


def test_make_before_break() -> None:
    """Envoy's rule for ADS: clusters, their endpoints, listeners, then the routes they name."""
    assert PUSH_ORDER[:4] == (CDS, EDS, LDS, RDS)


@pytest.mark.parametrize(
    ("type_url", "name"),
    [
        ("type.googleapis.com/envoy.service.runtime.v3.Runtime", "Runtime"),
        ("Plain", "Plain"),
        ("", ""),
    ],
)
def test_unknown_types_are_called_by_their_last_word(type_url: str, name: str) -> None:
    assert short_name(type_url) == name
