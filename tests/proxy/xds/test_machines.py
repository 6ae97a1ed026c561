"""Both variants of xDS as transcripts: what is said, and what a response is answered with."""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2 as pb

from protos.types import CDS, EDS, LDS, SDS, VHDS
from proxy.config.model import Node
from proxy.xds.ads import SotwMachine
from proxy.xds.delta import DeltaMachine
from proxy.xds.update import node_message
from tests.support.envoy_resources import cluster, endpoints
from tests.support.fake_ads import packed

NODE = base_pb2.Node(id="n")
NONE: frozenset[str] = frozenset()


def names(*found: str) -> frozenset[str]:
    return frozenset(found)


def nothing() -> Mapping[str, str]:
    return {}


def test_delta_first_request_tells_what_we_hold_and_carries_the_node_once() -> None:
    machine = DeltaMachine(NODE)
    machine.open()
    first = machine.subscribe(CDS, None, lambda: {"a": "1"})
    assert first is not None
    assert first.node.id == "n"
    assert (list(first.resource_names_subscribe), dict(first.initial_resource_versions)) == (
        [],
        {"a": "1"},
    )
    second = machine.subscribe(EDS, names("a", "b"), lambda: {"a": "1", "gone": "3"})
    assert second is not None
    assert not second.HasField("node")
    assert list(second.resource_names_subscribe) == ["a", "b"]
    assert dict(second.initial_resource_versions) == {"a": "1"}
    assert machine.subscribe(EDS, names("a", "b"), nothing) is None
    assert machine.subscribe(SDS, NONE, nothing) is None


def test_delta_says_only_what_changed_in_names() -> None:
    machine = DeltaMachine(NODE, node_on_first_only=False)
    machine.open()
    machine.subscribe(EDS, names("a", "b"), nothing)
    request = machine.subscribe(EDS, names("b", "c"), lambda: {"b": "1"})
    assert request is not None
    assert request.node.id == "n"  # with each request, unless the bootstrap says otherwise
    assert list(request.resource_names_subscribe) == ["c"]
    assert list(request.resource_names_unsubscribe) == ["a"]
    assert not request.initial_resource_versions


def test_delta_answers_by_nonce_and_names_what_was_wrong() -> None:
    machine = DeltaMachine(NODE)
    machine.open()
    machine.subscribe(CDS, None, nothing)
    response = pb.DeltaDiscoveryResponse(type_url=CDS, nonce="7", removed_resources=["x"])
    item = response.resources.add(name="a", version="2")
    item.resource.CopyFrom(packed(cluster("a")))
    response.resources.add(name="heartbeat", version="2")
    update = machine.feed(response)
    assert update is not None
    assert ([each.name for each in update.resources], update.removed) == (["a"], ("x",))
    assert not update.complete
    ack = machine.answer(update, {})
    assert (ack.response_nonce, ack.HasField("error_detail")) == ("7", False)
    nack = machine.answer(update, {"a": "name: bad", "b": "worse"})
    assert nack.error_detail.message == "a: name: bad; b: worse"
    assert nack.error_detail.code == 3
    assert machine.feed(pb.DeltaDiscoveryResponse(type_url=LDS)) is None  # never asked for


def test_delta_begins_anew_on_a_new_stream() -> None:
    machine = DeltaMachine(NODE)
    machine.open()
    machine.subscribe(EDS, names("a"), nothing)
    machine.open()
    again = machine.subscribe(EDS, names("a"), lambda: {"a": "5"})
    assert again is not None
    assert again.node.id == "n"
    assert dict(again.initial_resource_versions) == {"a": "5"}


def sotw_response(version: str, nonce: str) -> pb.DiscoveryResponse:
    return pb.DiscoveryResponse(
        type_url=CDS, version_info=version, nonce=nonce, resources=[packed(cluster("a"))]
    )


def test_sotw_versions_and_nonces() -> None:
    machine = SotwMachine(NODE)
    machine.open()
    first = machine.subscribe(CDS, None, nothing)
    assert first is not None
    assert (first.node.id, first.version_info, first.response_nonce) == ("n", "", "")
    update = machine.feed(sotw_response("1", "n1"))
    assert update is not None
    assert update.complete
    assert [each.name for each in update.resources] == ["a"]
    ack = machine.answer(update, {})
    assert (ack.version_info, ack.response_nonce) == ("1", "n1")
    update = machine.feed(sotw_response("2", "n2"))
    assert update is not None
    nack = machine.answer(update, {"a": "bad"})
    assert (nack.version_info, nack.response_nonce) == ("1", "n2")
    assert nack.error_detail.message == "a: bad"
    machine.open()
    again = machine.subscribe(CDS, None, nothing)
    assert again is not None
    assert (again.version_info, again.response_nonce) == ("1", "")


def test_sotw_a_change_of_names_is_the_whole_list_with_the_last_nonce() -> None:
    machine = SotwMachine(NODE)
    machine.open()
    assert machine.subscribe(EDS, NONE, nothing) is None
    machine.subscribe(EDS, names("a"), nothing)
    response = pb.DiscoveryResponse(type_url=EDS, version_info="1", nonce="n1")
    response.resources.append(packed(endpoints("a", 1)))
    update = machine.feed(response)
    assert update is not None
    assert not update.complete
    machine.answer(update, {})
    request = machine.subscribe(EDS, names("b", "a"), nothing)
    assert request is not None
    assert list(request.resource_names) == ["a", "b"]
    assert (request.version_info, request.response_nonce) == ("1", "n1")
    empty = machine.subscribe(EDS, NONE, nothing)
    assert empty is not None
    assert list(empty.resource_names) == []


def test_sotw_takes_the_name_of_a_wrapped_resource() -> None:
    machine = SotwMachine(NODE)
    machine.open()
    machine.subscribe(CDS, None, nothing)
    wrapped = pb.Resource(name="wrapped", resource=packed(cluster("a")))
    update = machine.feed(
        pb.DiscoveryResponse(type_url=CDS, nonce="1", resources=[packed(wrapped)])
    )
    assert update is not None
    (found,) = update.resources
    assert (found.name, found.type_url) == ("wrapped", CDS)


def test_the_node_tells_everything() -> None:
    node = Node("id", "cluster", ("r", "z", "s"), {"LABELS": {"app": "a"}, "N": 1.0, "L": [True]})
    message = node_message(node, "0.1")
    assert (message.id, message.cluster, message.locality.zone) == ("id", "cluster", "z")
    assert (message.user_agent_name, message.user_agent_version) == ("weft", "0.1")
    assert message.metadata["LABELS"]["app"] == "a"  # type: ignore[index]


def test_delta_names_beside_all_there_are() -> None:
    """Who has named a resource no longer means all by naming nothing."""
    machine = DeltaMachine(NODE)
    machine.open()
    assert machine.subscribe(CDS, None, nothing) is not None
    more = machine.subscribe(CDS, names("*", "a"), nothing)
    assert more is not None
    assert list(more.resource_names_subscribe) == ["*", "a"]
    fewer = machine.subscribe(CDS, None, nothing)
    assert fewer is not None
    assert list(fewer.resource_names_unsubscribe) == ["a"]
    machine.open()
    again = machine.subscribe(CDS, names("*", "a"), lambda: {"a": "1", "b": "2"})
    assert again is not None
    assert dict(again.initial_resource_versions) == {"a": "1", "b": "2"}


def test_delta_virtual_hosts_have_other_names_than_they_are_asked_by() -> None:
    machine = DeltaMachine(NODE)
    machine.open()
    first = machine.subscribe(VHDS, names("t/one"), lambda: {"t/own": "1"})
    assert first is not None
    assert dict(first.initial_resource_versions) == {"t/own": "1"}
    response = pb.DeltaDiscoveryResponse(type_url=VHDS, nonce="1", removed_resources=["t/gone"])
    response.resources.add(name="t/own", aliases=["t/one"]).resource.CopyFrom(packed(cluster("a")))
    response.resources.add(name="t/no", version="0", aliases=["t/no", "t/none"])
    update = machine.feed(response)
    assert update is not None
    assert [(each.name, each.aliases) for each in update.resources] == [("t/own", ("t/one",))]
    assert update.removed == ("t/gone",)
    assert update.absent == (("t/no", "0"), ("t/none", "0"))
