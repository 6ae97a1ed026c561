"""Connections that are turned away are listed and told to the log with the place of the rule."""

from __future__ import annotations

from typing import Any

from envoy.extensions.filters.network.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as Any_
from google.protobuf.message import Message

from proxy.config.decode_network_ext_authz import decode as decode_ext_authz
from proxy.config.decode_network_rbac import decode as decode_rbac
from proxy.denials import POINTS_OUT, Denial, Denials
from proxy.http.inquiry import Outcome, Told
from proxy.l4.ext_authz import ExtAuthzGuard
from proxy.l4.guard import TurnedAway, Visitor
from proxy.l4.rbac import RbacGuard
from proxy.stats import Stats
from tests.support.filters import info

POLICY, PLACE = "ns[shop]-policy[db]-rule[0]", "a.yaml:3:5"
EVERYTHING = {"permissions": [{"any": True}], "principals": [{"any": True}]}


def rules(name: str) -> dict[str, Any]:
    told = {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": "type.googleapis.com/weft.rbac.Explain",
        "value": {"sources": {name: PLACE}},
    }
    logger = {"is_optional": True, "audit_logger": {"name": "weft.explain", "typed_config": told}}
    options = {"logger_configs": [logger]}
    return {"action": "DENY", "policies": {name: EVERYTHING}, "audit_logging_options": options}


def packed(message: Message) -> Any_:
    found = Any_()
    found.Pack(message)
    return found


def judged(guard: RbacGuard | ExtAuthzGuard, visitor: Visitor) -> TurnedAway | None:
    said: list[TurnedAway | None] = []
    guard.judge(visitor, said.append)
    (why,) = said
    return why


def guard_of(denials: Denials, **fields: Any) -> RbacGuard:
    message = json_format.ParseDict({"stat_prefix": "tcp.", **fields}, rbac_pb2.RBAC())
    return RbacGuard(decode_rbac(packed(message), "c"), Stats(), denials, lambda: 1.0)


def only(denials: Denials) -> Denial:
    (denial,) = denials
    return denial


def test_a_rule_tells_the_log_its_place() -> None:
    denials, visitor = Denials(), Visitor(info(), {})
    assert judged(guard_of(denials, rules=rules(POLICY)), visitor) is not None
    assert visitor.metadata["weft.rbac"] == {"policy": POLICY, "source": PLACE}
    assert only(denials).source == PLACE
    dry, untouched = Denials(), Visitor(info(), {})
    assert judged(guard_of(dry, shadow_rules=rules(POLICY)), untouched) is None
    assert only(dry).shadow and "weft.rbac" not in untouched.metadata


def test_a_service_that_says_no_is_listed_with_the_rule_that_asked_it() -> None:
    name = f"istio-ext-authz-idp-{POLICY}"
    denials, visitor = Denials(), Visitor(info(), {})
    pointing = guard_of(denials, shadow_rules=rules(name), shadow_rules_stat_prefix=POINTS_OUT)
    assert judged(pointing, visitor) is None and not len(denials)

    def nobody(inquiry: Any, told: Told) -> Any:
        told(Outcome(503, failure="nobody"))

    service = {"envoy_grpc": {"cluster_name": "authz"}}
    message = json_format.ParseDict(
        {"stat_prefix": "tcp.", "grpc_service": service, "transport_api_version": "V3"},
        ext_authz_pb2.ExtAuthz(),
    )
    asking = ExtAuthzGuard(
        decode_ext_authz(packed(message), "c"),
        Stats(),
        nobody,
        lambda text: lambda _: text.encode(),
        "",
        denials,
        lambda: 1.0,
    )
    assert judged(asking, visitor) is not None
    found = only(denials)
    assert (found.policy, found.source, found.reason) == (name, PLACE, "ext_authz_error")
    assert (found.filter, found.action) == ("ext_authz.tcp..", "CUSTOM")
    assert visitor.metadata["weft.rbac"]["source"] == PLACE
