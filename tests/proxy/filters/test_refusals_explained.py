"""Whom tokens or another service keep out is listed like those of RBAC, and is told the policy."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Metadata
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from google.protobuf import json_format

from proxy.admin.denials import rbac as rbac_page
from proxy.config.decode_lds import explanations
from proxy.config.filters.decode_ext_authz import decode as decode_ext_authz
from proxy.config.filters.decode_jwt_authn import decode as decode_jwt
from proxy.config.filters.decode_rbac import decode as decode_rbac
from proxy.config.model import Explanations
from proxy.config.rejected import Rejected
from proxy.denials import POINTS_OUT, Denial
from proxy.filters import ext_authz, jwt_authn, rbac
from proxy.filters.api import FilterContext, Reply
from proxy.http.inquiry import Outcome, Told
from tests.support.filters import FakeStream, context, request
from tests.support.jwt import OTHER_SECRET, jwks, token

POLICY, PLACE = "ns[shop]-policy[ids]-rule[0]", "a.yaml:3:5"
KNOWN = {"p": (POLICY, PLACE)}


def asked_for_token(given: FilterContext, text: str, *issuers: str) -> tuple[FakeStream, Reply]:
    """By providers p, q ... of these issuers, any of which will do."""
    local = {"inline_string": jwks()}
    named = {
        chr(ord("p") + index): {"issuer": issuer, "local_jwks": local}
        for index, issuer in enumerate(issuers)
    }
    each = [{"provider_name": name} for name in named]
    needs: dict[str, Any] = {"requires_any": {"requirements": each}} if each[1:] else each[0]
    rules = [{"match": {"prefix": "/"}, "requires": needs}]
    config = {"providers": named, "rules": rules}
    message = json_format.ParseDict(config, config_pb2.JwtAuthentication())
    hooks = jwt_authn.build(decode_jwt(message.SerializeToString(), "c"), given).for_route(())
    assert hooks is not None and hooks.on_request is not None
    headers = {"authorization": f"Bearer {text}"} if text else {}
    stream = FakeStream(request("/buy", **headers))
    reply = hooks.on_request(stream)
    assert isinstance(reply, Reply)
    return stream, reply


def only(given: FilterContext) -> Denial:
    (denial,) = given.denials
    return denial


def test_a_refused_token_names_whose_rule_it_was() -> None:
    given = context(explanations=Explanations(tells=True, tokens=KNOWN))
    bad = token({"iss": "me"}, OTHER_SECRET)
    stream, reply = asked_for_token(given, bad, "me", "you")
    assert reply.status == 401
    assert reply.body.decode() == f"Jwt verification fails; see {POLICY} ({PLACE})"
    assert reply.detail == "jwt_authn_access_denied{Jwt_verification_fails}"
    assert stream.metadata["weft.rbac"] == {"policy": POLICY, "source": PLACE}
    found = only(given)
    assert (found.action, found.policy, found.source) == ("AUTHENTICATE", POLICY, PLACE)
    assert (found.reason, found.path, found.shadow) == ("Jwt verification fails", b"/buy", False)
    assert found.filter == "http.in.jwt_authn."


def test_the_client_hears_what_envoy_says_unless_the_mesh_allows_more() -> None:
    given = context(explanations=Explanations(tokens=KNOWN))
    stream, reply = asked_for_token(given, "", "me")
    assert reply.body == b"Jwt is missing"
    assert only(given).policy == POLICY and stream.metadata["weft.rbac"]["source"] == PLACE


def test_without_explanations_the_provider_is_named() -> None:
    given = context()
    stream, reply = asked_for_token(given, "a.b", "me")
    assert (only(given).policy, only(given).source) == ("p", "")
    assert "weft.rbac" not in stream.metadata
    assert reply.body.startswith(b"Jwt is not in the form of")


def test_where_any_of_several_would_do_nobody_is_named_for_a_missing_token() -> None:
    given = context(explanations=Explanations(tells=True, tokens=KNOWN))
    _, reply = asked_for_token(given, "", "me", "you")
    assert reply.body == b"Jwt is missing"
    assert (only(given).policy, only(given).reason) == ("", "Jwt is missing")


# --------------------------------------------------------------------------- another service


def asked_of_service(given: FilterContext, tells: bool, **fields: Any) -> tuple[FakeStream, Any]:
    """A request that a CUSTOM rule has pointed out, as the control plane emits it."""
    name = f"istio-ext-authz-idp-{POLICY}"
    told = {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": "type.googleapis.com/weft.rbac.Explain",
        "value": {"body": tells, "sources": {name: PLACE}},
    }
    logger = {"is_optional": True, "audit_logger": {"name": "weft.explain", "typed_config": told}}
    everything = {"permissions": [{"any": True}], "principals": [{"any": True}]}
    rules = {
        "action": "DENY",
        "policies": {name: everything},
        "audit_logging_options": {"logger_configs": [logger]},
    }
    shadow = json_format.ParseDict(
        {"shadow_rules": rules, "shadow_rules_stat_prefix": POINTS_OUT}, rbac_pb2.RBAC()
    )
    service = {"server_uri": {"uri": "http://authz.test", "cluster": "authz", "timeout": "1s"}}
    config = json_format.ParseDict({"http_service": service, **fields}, ext_authz_pb2.ExtAuthz())
    stream = FakeStream(request("/buy"))
    first = rbac.build(decode_rbac(shadow.SerializeToString(), "c"), given).for_route(())
    second = ext_authz.build(decode_ext_authz(config.SerializeToString(), "c"), given)
    assert first is not None and first.on_request is not None
    assert first.on_request(stream) is None
    hooks = second.for_route(())
    assert hooks is not None and hooks.on_request is not None
    return stream, hooks.on_request(stream)


def answering(outcome: Outcome) -> Any:
    def ask(inquiry: Any, told: Told) -> Any:
        told(outcome)

    return ask


def test_a_service_that_says_no_is_listed_with_the_rule_that_asked_it() -> None:
    given = context(ask=answering(Outcome(403, body=b"not you")))
    stream, reply = asked_of_service(given, tells=True)
    assert reply.body == b"not you"  # it is the service's
    found = only(given)
    assert (found.action, found.source) == ("CUSTOM", PLACE)
    assert found.policy == f"istio-ext-authz-idp-{POLICY}"
    assert found.reason == "ext_authz_denied 403"
    assert stream.metadata["weft.rbac"]["source"] == PLACE


def test_nobody_there_to_ask() -> None:
    given = context(ask=answering(Outcome(503, failure="nobody")))
    _, reply = asked_of_service(given, tells=True)
    asker = f"istio-ext-authz-idp-{POLICY} ({PLACE})"
    assert (reply.status, reply.body.decode()) == (403, f"ext_authz_error, asked by {asker}")
    silent = context(ask=answering(Outcome(503, failure="nobody")))
    _, reply = asked_of_service(silent, tells=False)
    assert reply.body == b"" and only(silent).reason == "ext_authz_error 403"


def test_whom_the_service_lets_in_is_no_denial() -> None:
    given = context(ask=answering(Outcome(200)))
    stream, reply = asked_of_service(given, tells=True)
    assert reply is None and not len(given.denials)
    assert "weft.rbac" not in stream.metadata
    lenient = context(ask=answering(Outcome(503, failure="nobody")))
    assert asked_of_service(lenient, True, failure_mode_allow=True)[1] is None
    assert not len(lenient.denials)


# --------------------------------------------------------------------------- telling


def test_the_page_shows_reason_and_rule() -> None:
    given = context(explanations=Explanations(tokens=KNOWN))
    asked_for_token(given, "", "me")

    class View:
        denials = given.denials

    page = rbac_page(View(), {})  # type: ignore[arg-type]
    line = page.body
    assert isinstance(line, str)
    assert f"GET a.test/buy: Jwt is missing, {POLICY} ({PLACE}) [http.in.jwt_authn.]" in line


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"tokens": {"p": ["a"]}}, "wants body"),
        ({"tokens": {"p": [1, "b"]}}, "wants body"),
        ({"body": "yes"}, "wants body"),
        ({"bodies": True}, "bodies: is no field"),
    ],
)
def test_explanations_that_are_none(value: dict[str, Any], why: str) -> None:
    metadata = Metadata()
    metadata.filter_metadata["weft.explain"].update(value)
    with pytest.raises(Rejected, match=why):
        explanations(metadata, "metadata")
    metadata = Metadata()
    metadata.filter_metadata["weft.explain"].update({"body": True, "tokens": {"p": ["a", "b"]}})
    metadata.filter_metadata["other"].update(value)
    assert explanations(metadata, "m") == Explanations(True, {"p": ("a", "b")})
