"""Denials that explain themselves: to the client, the log's metadata, and the list of denials."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from google.protobuf import json_format

from proxy.config.filters.decode_rbac import decode
from proxy.config.rejected import Rejected
from proxy.denials import MAX_DENIALS, Denial, Denials
from proxy.filters import rbac
from proxy.filters.api import FilterContext, Reply
from tests.support.filters import FakeStream, context, info, request

TYPED = "type.googleapis.com/xds.type.v3.TypedStruct"
EXPLAIN = "type.googleapis.com/weft.rbac.Explain"


def logger(value: dict[str, Any], optional: bool = True, kind: str = EXPLAIN) -> dict[str, Any]:
    typed = {"@type": TYPED, "type_url": kind, "value": value}
    named = {"name": "weft.explain", "typed_config": typed}
    return {"logger_configs": [{"is_optional": optional, "audit_logger": named}]}


def rules(action: str, path: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    permission = {"url_path": {"path": {"prefix": path}}}
    policy = {"permissions": [permission], "principals": [{"any": True}]}
    found: dict[str, Any] = {"action": action, "policies": {"p": policy}}
    return {**found, "audit_logging_options": options} if options else found


def asked(given: FilterContext, path: str, **fields: Any) -> tuple[FakeStream, Any]:
    message = json_format.ParseDict(fields, rbac_pb2.RBAC())
    hooks = rbac.build(decode(message.SerializeToString(), "c"), given).for_route(())
    assert hooks is not None and hooks.on_request is not None
    stream = FakeStream(request(path))
    return stream, hooks.on_request(stream)


def test_the_client_hears_the_policy_where_that_is_allowed() -> None:
    options = logger({"body": True, "sources": {"p": "a.yaml:3:1"}, "none": "see b.yaml"})
    stream, reply = asked(context(), "/x", rules=rules("DENY", "/", options))
    assert isinstance(reply, Reply)
    assert reply.body == b"RBAC: access denied by p (a.yaml:3:1)"
    assert reply.detail == "rbac_access_denied_matched_policy[p]"
    assert stream.metadata["weft.rbac"] == {"policy": "p", "source": "a.yaml:3:1"}
    _, reply = asked(context(), "/x", rules=rules("ALLOW", "/y", options))
    assert reply.body == b"RBAC: access denied: see b.yaml"
    assert reply.detail == "rbac_access_denied_matched_policy[none]"


def test_else_it_hears_what_envoy_says() -> None:
    options = logger({"sources": {"p": "a.yaml:3:1"}})
    _, reply = asked(context(), "/x", rules=rules("DENY", "/", options))
    assert reply.body == b"RBAC: access denied"


def test_denials_and_would_be_denials_are_listed() -> None:
    given = context()
    options = logger({"sources": {"p": "a.yaml:3:1"}})
    _, answer = asked(
        given, "/s?q", shadow_rules=rules("DENY", "/s", options), rules=rules("ALLOW", "/")
    )
    assert answer is None
    asked(given, "/t", rules=rules("DENY", "/t"))
    newest, oldest = given.denials
    assert (newest.shadow, newest.path, newest.source) == (False, b"/t", "")
    assert (oldest.shadow, oldest.path, oldest.source) == (True, b"/s?q", "a.yaml:3:1")
    assert (oldest.filter, oldest.action, oldest.policy) == ("http.in.", "DENY", "p")


def test_what_istio_points_out_to_a_service_is_no_denial() -> None:
    given = context()
    shadow = rules("DENY", "/s")
    asked(given, "/s", shadow_rules=shadow, shadow_rules_stat_prefix="istio_ext_authz_")
    assert not len(given.denials)
    asked(given, "/s", shadow_rules=shadow, shadow_rules_stat_prefix="istio_dry_run_deny_")
    assert len(given.denials) == 1


def test_the_list_has_an_end() -> None:
    denials = Denials()
    for number in range(MAX_DENIALS + 10):
        denials.note(Denial(float(number), False, "", "DENY", "p", "", info()))
    found = list(denials)
    assert len(found) == MAX_DENIALS and found[0].unix_s == MAX_DENIALS + 9
    denials.note(Denial(100.5, True, "", "DENY", "tried", "", info()))
    denials.note(Denial(1000.0, False, "", "DENY", "p", "", info()))
    found = list(denials)
    assert len(found) == MAX_DENIALS + 1  # what is real takes no place from what is tried
    assert found[0].unix_s == 1000.0
    (place,) = (index for index, one in enumerate(found) if one.shadow)
    assert found[place - 1].unix_s > 100.5 > found[place + 1].unix_s


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (logger({"body": "yes"}), "logger_configs[0].audit_logger.typed_config.value"),
        (logger({"sources": {"p": 1}}), "typed_config.value"),
        (logger({"tells": True}), "value.tells"),
        (logger({}, False, "type.googleapis.com/acme.Logger"), "audit_logger.typed_config"),
    ],
)
def test_what_is_no_explanation_is_refused(options: dict[str, Any], where: str) -> None:
    with pytest.raises(Rejected) as error:
        asked(context(), "/", rules=rules("DENY", "/", options))
    assert where in str(error.value)


def test_a_logger_that_is_optional_is_passed_over() -> None:
    options = logger({"a": 1}, True, "type.googleapis.com/acme.Logger")
    _, reply = asked(context(), "/", rules=rules("DENY", "/", options))
    assert reply.body == b"RBAC: access denied"
