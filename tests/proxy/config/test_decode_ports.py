"""The ports that a listener filter is not for: a predicate of Envoy's as ranges of numbers."""

from __future__ import annotations

import pytest
from envoy.config.listener.v3.listener_components_pb2 import ListenerFilterChainMatchPredicate
from google.protobuf import json_format

from proxy.config.decode_ports import ports
from proxy.config.model.listeners import PortRanges
from proxy.config.rejected import Rejected

Tree = dict[str, object]


def one(start: int, end: int) -> Tree:
    return {"destination_port_range": {"start": start, "end": end}}


def several(word: str, *rules: Tree) -> Tree:
    return {word: {"rules": list(rules)}}


def decoded(tree: Tree) -> PortRanges:
    predicate = ListenerFilterChainMatchPredicate()
    return ports(json_format.ParseDict(tree, predicate), "here")


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (one(80, 81), ((80, 81),)),
        (one(81, 80), ()),
        (one(-5, 99999), ((0, 65536),)),
        ({"any_match": True}, ((0, 65536),)),
        (several("or_match", one(90, 95), one(80, 81), one(81, 91)), ((80, 95),)),
        (several("or_match", one(1, 2), one(5, 6)), ((1, 2), (5, 6))),
        (several("and_match", one(1, 10), one(5, 20)), ((5, 10),)),
        (several("and_match", one(1, 2), one(5, 6)), ()),
        ({"not_match": one(80, 81)}, ((0, 80), (81, 65536))),
        ({"not_match": {"not_match": one(80, 81)}}, ((80, 81),)),
        ({"not_match": {"any_match": True}}, ()),
    ],
    ids=str,
)
def test_a_predicate_is_a_set_of_ports(tree: Tree, expected: PortRanges) -> None:
    assert decoded(tree) == expected


def test_nothing_is_no_predicate() -> None:
    with pytest.raises(Rejected, match=r"here.not_match: needs one of"):
        decoded({"not_match": {}})


def test_depth_is_bounded() -> None:
    tree = one(80, 81)
    for _ in range(20):
        tree = {"not_match": tree}
    with pytest.raises(Rejected, match="nested more than 16 deep"):
        decoded(tree)
