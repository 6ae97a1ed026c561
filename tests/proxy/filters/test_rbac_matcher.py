"""Access rules as a list of matchers: what is refused, and what is pointed out to the log."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from google.protobuf import json_format
from xds.type.matcher.v3 import cel_pb2

import proxy.config.decode_rbac_matcher  # noqa: F401  # the messages of its inputs
from proxy.config.filters.decode_rbac import decode
from proxy.config.model.rbac import Decisions
from proxy.config.rejected import Rejected
from proxy.filters.rbac_engine import engine
from tests.support.filters import FakeStream, request

TYPES = "type.googleapis.com/"
HEADER = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
CEL = cel_pb2.CelMatcher.DESCRIPTOR.full_name
PORT = "envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput"


def typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"name": "n", "typed_config": {"@type": TYPES + kind, **fields}}


def action(name: str, word: str = "ALLOW") -> dict[str, Any]:
    return {"action": typed("envoy.config.rbac.v3.Action", name=name, action=word)}


def single(**fields: Any) -> dict[str, Any]:
    return {"single_predicate": {"input": typed(HEADER, header_name="x-a"), **fields}}


def rule(predicate: dict[str, Any], on_match: dict[str, Any]) -> dict[str, Any]:
    return {"predicate": predicate, "on_match": on_match}


def config(*rules: dict[str, Any], **fields: Any) -> Any:
    plain = {"matcher": {"matcher_list": {"matchers": list(rules)}}, **fields}
    message = json_format.ParseDict(plain, rbac_pb2.RBAC())
    return decode(message.SerializeToString(), "config")


ONE = rule(single(value_match={"exact": "1"}), action("one"))


def test_the_first_rule_that_applies_decides() -> None:
    log = rule(single(value_match={"prefix": "2"}), action("two", "LOG"))
    found = config(
        ONE, log, rule(single(value_match={"prefix": "3"}), action("rest", "DENY"))
    ).rules
    assert isinstance(found, Decisions) and found.names == ("one", "two", "rest")
    made = engine(found)
    judged = {value: made.judge(FakeStream(request(x_a=value))) for value in ("1", "2", "22", "3")}
    assert judged == {"1": ("one", True), "2": ("two", True), "22": ("two", True),
                      "3": ("rest", False)}  # fmt: skip
    assert made.judge(FakeStream(request())) == (None, False)
    assert made.hints and made.points_out("two") and not made.points_out("one")
    assert not made.points_out(None)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"rules": {}}, "config.rules"),
        ({"matcher": {"matcher_tree": {"input": typed(HEADER, header_name="a")}}}, "matcher_tree"),
    ],
)
def test_what_cannot_be_beside_it_is_refused(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(Rejected) as error:
        config(ONE, **fields)
    assert where in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        (rule(single(custom_match=typed(CEL)), action("a")), "custom_match.typed_config"),
        (
            rule(
                {"single_predicate": {"input": typed(CEL), "value_match": {"exact": "1"}}},
                action("a"),
            ),
            "input.typed_config",
        ),
        (
            rule(single(value_match={"exact": "1"}), {"action": typed(HEADER, header_name="a")}),
            "action",
        ),
        (rule(single(value_match={"exact": "1"}), {"matcher": {}}), "on_match.matcher"),
    ],
)
def test_what_is_not_supported_is_refused_by_its_path(wrong: dict[str, Any], where: str) -> None:
    with pytest.raises(Rejected) as error:
        config(ONE, rule({"not_matcher": single(value_match={"exact": "1"})}, action("n")), wrong)
    assert "matchers[2]" in str(error.value) and where in str(error.value)


def test_a_port_is_compared_as_text() -> None:
    predicate = {"single_predicate": {"input": typed(PORT), "value_match": {"exact": "8080"}}}
    made = engine(config(rule(predicate, action("port"))).rules)
    assert made.judge(FakeStream()) == ("port", True)
