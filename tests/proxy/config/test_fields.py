"""The field table: closed, without typing errors, and nothing that is set slips through."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from proxy.config import any_types, fields, filters, model, pgv
from proxy.config.rejected import Rejected

ROOM = Path(fields.__file__).parent
ELSE_BRANCHES = {
    "envoy.extensions.access_loggers.file.v3.FileAccessLog.typed_json_format",
    "envoy.extensions.filters.common.fault.v3.FaultDelay.header_delay",
    "envoy.extensions.filters.common.fault.v3.FaultRateLimit.header_limit",
    "envoy.extensions.filters.http.fault.v3.FaultAbort.header_abort",
    "envoy.type.matcher.v3.ValueMatcher.null_match",
}
"""Alternatives of a oneof that are what is left when it is none of the others."""
READ_BY_THE_DECODERS = {
    "RouteConfiguration.validate_clusters": "config.references checks the clusters by it",
}
ROOTS = (
    bootstrap_pb2.Bootstrap,
    cluster_pb2.Cluster,
    endpoint_pb2.ClusterLoadAssignment,
    listener_pb2.Listener,
    route_pb2.RouteConfiguration,
    secret_pb2.Secret,
)


def reachable() -> dict[str, Descriptor]:
    """Every message type that an honoured field leads to, and those that stand in an Any."""
    found: dict[str, Descriptor] = {}
    waiting: list[Descriptor] = [root.DESCRIPTOR for root in ROOTS]  # type: ignore[misc]
    for name in any_types.NAMES:
        descriptor = any_types.descriptor(name)
        assert descriptor is not None
        waiting.append(descriptor)
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name in found:
            continue
        found[descriptor.full_name] = descriptor
        waiting.extend(honoured_types(descriptor))
    return found


def honoured_types(descriptor: Descriptor) -> Iterator[Descriptor]:
    row = fields.FIELDS.get(descriptor.full_name)
    for name in row.honoured.split() if row else ():
        kind = descriptor.fields_by_name[name].message_type
        if kind is not None and kind.GetOptions().map_entry:
            kind = kind.fields_by_name["value"].message_type
        if kind is not None and kind.full_name not in pgv.LEAVES:
            yield kind


def test_the_table_has_a_row_for_every_type_that_is_read_and_for_no_other() -> None:
    assert set(reachable()) == set(fields.FIELDS)


@pytest.mark.parametrize("name", sorted(fields.FIELDS))
def test_a_row_names_fields_that_exist_each_once_and_gives_reasons(name: str) -> None:
    descriptor, row = reachable()[name], fields.FIELDS[name]
    names = [*row.honoured.split(), *row.no_effect, *row.only]
    assert len(set(names)) == len(names)
    assert [each for each in names if each not in descriptor.fields_by_name] == []
    assert all(len(reason) > 10 and reason[0] != " " for reason in row.no_effect.values())


@pytest.mark.parametrize("name", sorted(fields.FIELDS))
def test_the_rules_of_every_type_compile(name: str) -> None:
    pgv._checks(reachable()[name])


TOO_MUCH = {"budget_percent": {"value": 101}}


def cluster(**plain: object) -> Message:
    return json_format.ParseDict({"name": "a", **plain}, cluster_pb2.Cluster())


@pytest.mark.parametrize(
    ("plain", "path"),
    [
        (
            {"health_checks": [{"event_service": {"grpc_service": {}}}]},
            "health_checks[0].event_service",
        ),
        (
            {"health_checks": [{}, {"custom_health_check": {"name": "redis"}}]},
            "health_checks[1].custom_health_check",
        ),
        (
            {"common_lb_config": {"close_connections_on_host_set_change": True}},
            "common_lb_config.close_connections_on_host_set_change",
        ),
        (
            {"outlier_detection": {"monitors": [{"name": "mine"}]}},
            "outlier_detection.monitors",
        ),
    ],
)
def test_a_field_that_is_not_supported_is_refused_by_its_path(
    plain: dict[str, object], path: str
) -> None:
    with pytest.raises(Rejected) as error:
        fields.check(cluster(**plain), "static_resources.clusters[0]")
    assert error.value.path == f"static_resources.clusters[0].{path}"
    assert "not supported by this version of Weft" in error.value.why


@pytest.mark.parametrize(
    "plain",
    [
        {"lb_subset_config": {}},
        {"upstream_connection_options": {}},
        {"outlier_detection": {"enforcing_success_rate": 0}},
        {"track_cluster_stats": {"timeout_budgets": True}},
        {"wait_for_warm_on_init": True},
        {"protocol_selection": "USE_CONFIGURED_PROTOCOL"},
    ],
)
def test_what_says_nothing_or_has_no_effect_is_accepted(plain: dict[str, object]) -> None:
    fields.check(cluster(**plain))


def test_an_empty_message_that_turns_something_on_is_refused() -> None:
    message = json_format.ParseDict({"name": "a", "api_listener": {}}, listener_pb2.Listener())
    with pytest.raises(Rejected) as error:
        fields.check(message)
    assert error.value.path == "api_listener"


def test_unknown_fields_are_accepted_as_envoy_accepts_them_from_a_control_plane() -> None:
    message = cluster_pb2.Cluster.FromString(
        cluster().SerializeToString() + b"\xfa\xff\x03\x02hi"  # field 8191, two bytes
    )
    fields.check(message)


@pytest.mark.parametrize(
    ("message", "path", "why"),
    [
        (cluster_pb2.Cluster(), "name", "must not be empty"),
        (cluster(connect_timeout="0s"), "connect_timeout", "must be greater than 0s"),
        (cluster(dns_refresh_rate="0.0005s"), "dns_refresh_rate", "must be greater than 0.001s"),
        (cluster(lb_policy=99), "lb_policy", "99 is not a value of this enum"),
        (
            cluster(circuit_breakers={"thresholds": [{"retry_budget": TOO_MUCH}]}),
            "circuit_breakers.thresholds[0].retry_budget.budget_percent.value",
            "must be at most 100, is 101.0",
        ),
        (
            cluster(least_request_lb_config={"choice_count": 1}),
            "least_request_lb_config.choice_count",
            "must be at least 2, is 1",
        ),
        (
            cluster(transport_socket={"name": ""}),
            "transport_socket.name",
            "must not be empty",
        ),
        (
            json_format.ParseDict(
                {"virtual_hosts": [{"name": "a", "domains": []}]}, route_pb2.RouteConfiguration()
            ),
            "virtual_hosts[0].domains",
            "needs at least 1 item(s), has 0",
        ),
        (
            json_format.ParseDict(
                {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": [{"match": {}}]}]},
                route_pb2.RouteConfiguration(),
            ),
            "virtual_hosts[0].routes[0]",
            "one of the fields of `action` must be set",
        ),
        (
            json_format.ParseDict(
                {"request_headers_to_remove": ["ok", "not\nok"]}, route_pb2.RouteConfiguration()
            ),
            "request_headers_to_remove[1]",
            "is not a valid header name",
        ),
    ],
)  # fmt: skip
def test_envoys_own_rules_are_held(message: Message, path: str, why: str) -> None:
    with pytest.raises(Rejected) as error:
        pgv.validate(message)
    assert (error.value.path, error.value.why) == (path, why)


# ------------------------------------------------------------------------- who reads them


def words_of(paths: Iterable[Path]) -> set[str]:
    """Every name that the code in them speaks of: attributes, arguments, parts of texts."""
    return {word for path in paths for word in re.findall(r"\w+", path.read_text())}


def test_a_field_that_is_honoured_is_read_by_a_decoder() -> None:
    """Or by a table that a decoder takes the names of fields from."""
    readers = words_of(
        path for path in ROOM.rglob("*.py") if not path.name.startswith(("fields", "field_rules"))
    )
    unread = {
        f"{name}.{field}"
        for name, row in fields.FIELDS.items()
        for field in row.honoured.split()
        if field not in readers
    }
    assert unread == ELSE_BRANCHES


def test_what_the_decoders_find_is_read_by_the_proxy() -> None:
    """A model's field that nobody reads is a setting that is ignored in silence."""
    outside = words_of(path for path in ROOM.parent.rglob("*.py") if ROOM not in path.parents)
    unread = {
        f"{kind.__name__}.{field.name}"
        for module in models()
        for kind in vars(module).values()
        if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == module.__name__
        for field in dataclass_fields(kind)
        if field.name not in outside
    }
    assert unread == set(READ_BY_THE_DECODERS)


def models() -> list[ModuleType]:
    return [
        importlib.import_module(f"{room.__name__}.{module.name}")
        for room in (model, filters)
        for module in pkgutil.iter_modules(room.__path__)
    ]
