"""Access control as tables: a rule, a subject, whether it applies."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.rbac.v3 import rbac_pb2
from google.protobuf import json_format

from proxy.config.decode_common import checked
from proxy.config.decode_rbac_rules import rules
from proxy.config.model import CidrRange
from proxy.connection import PeerCertificate
from proxy.filters.rbac_engine import Engine, in_range
from tests.support.filters import FakeStream, info, request

PEER = PeerCertificate(
    uri_sans=("spiffe://td/ns/a/sa/b",), dns_sans=("a.test",), subject="CN=me,O=us"
)
TLS = info(tls=True, peer=PEER, sni="x.test")
ANY = {"any": True}


def engine(action: str = "ALLOW", **policies: dict[str, Any]) -> Engine:
    plain = {"action": action, "policies": policies}
    return Engine(rules(checked(json_format.ParseDict(plain, rbac_pb2.RBAC())), "rules"))


def applies(permission: Any = ANY, principal: Any = ANY, subject: FakeStream | None = None) -> bool:
    policy = {"permissions": [permission], "principals": [principal]}
    return engine(p=policy).judge(subject or FakeStream())[0] == "p"


def ask(path: str = "/", method: str = "GET", **headers: str) -> FakeStream:
    return FakeStream(request=request(path, method, **headers))


def path_is(**matcher: str) -> dict[str, Any]:
    return {"url_path": {"path": matcher}}


HEADER = {"header": {"name": "x-a", "string_match": {"exact": "1"}}}
BOTH = {"and_rules": {"rules": [HEADER, path_is(exact="/a")]}}
EITHER = {"or_rules": {"rules": [HEADER, path_is(exact="/a")]}}


@pytest.mark.parametrize(
    ("permission", "subject", "wanted"),
    [
        (ANY, ask(), True),
        (HEADER, ask(x_a="1"), True),
        (HEADER, ask(x_a="2"), False),
        (HEADER, ask(), False),
        ({"header": {"name": ":method", "string_match": {"exact": "PUT"}}}, ask("/", "PUT"), True),
        (path_is(prefix="/a"), ask("/ab?x"), True),
        (path_is(exact="/a"), ask("/a?b=/c"), True),
        (path_is(exact="/a"), ask("/a#frag"), True),
        (path_is(suffix=".html"), ask("/x?y=.html"), False),
        ({"url_path": {"path": {"safe_regex": {"regex": "/[0-9]+"}}}}, ask("/12"), True),
        (BOTH, ask("/a", x_a="1"), True),
        (BOTH, ask("/a"), False),
        (EITHER, ask("/a"), True),
        (EITHER, ask("/b"), False),
        ({"not_rule": HEADER}, ask(), True),
        ({"not_rule": HEADER}, ask(x_a="1"), False),
        ({"destination_port": 8080}, ask(), True),
        ({"destination_port": 80}, ask(), False),
        ({"destination_port_range": {"start": 8080, "end": 8081}}, ask(), True),
        ({"destination_port_range": {"start": 1, "end": 8080}}, ask(), False),
        ({"destination_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}, ask(), True),
        ({"destination_ip": {"address_prefix": "::", "prefix_len": 0}}, ask(), False),
        ({"requested_server_name": {"exact": "x.test"}}, FakeStream(info=TLS), True),
        ({"requested_server_name": {"exact": "x.test"}}, ask(), False),
    ],
)
def test_permissions(permission: Any, subject: FakeStream, wanted: bool) -> None:
    assert applies(permission, subject=subject) is wanted


def named(**matcher: str) -> dict[str, Any]:
    return {"authenticated": {"principal_name": matcher}}


@pytest.mark.parametrize(
    ("principal", "subject", "wanted"),
    [
        ({"authenticated": {}}, FakeStream(info=TLS), True),
        ({"authenticated": {}}, FakeStream(), False),
        (named(exact="spiffe://td/ns/a/sa/b"), FakeStream(info=TLS), True),
        (named(exact="a.test"), FakeStream(info=TLS), True),
        (named(prefix="CN=me"), FakeStream(info=TLS), True),
        (named(exact="spiffe://td/ns/a/sa/c"), FakeStream(info=TLS), False),
        (named(prefix="spiffe"), FakeStream(), False),
        (named(exact="x"), FakeStream(info=info(tls=True)), False),
        ({"direct_remote_ip": {"address_prefix": "192.0.2.0", "prefix_len": 24}}, ask(), True),
        ({"source_ip": {"address_prefix": "192.0.2.0", "prefix_len": 24}}, ask(), True),
        ({"remote_ip": {"address_prefix": "192.0.2.0", "prefix_len": 24}}, ask(), False),
        ({"remote_ip": {"address_prefix": "203.0.113.0", "prefix_len": 24}}, ask(), True),
        ({"not_id": ANY}, ask(), False),
        ({"and_ids": {"ids": [ANY, {"not_id": named(prefix="a")}]}}, ask(), True),
        ({"or_ids": {"ids": [named(prefix="a"), ANY]}}, ask(), True),
    ],
)
def test_principals(principal: Any, subject: FakeStream, wanted: bool) -> None:
    assert applies(principal=principal, subject=subject) is wanted


def data(value: Any, **more: Any) -> dict[str, Any]:
    return {"metadata": {"filter": "f", "path": [{"key": "k"}], "value": value, **more}}


@pytest.mark.parametrize(
    ("value", "known", "wanted"),
    [
        ({"string_match": {"prefix": "a"}}, "abc", True),
        ({"string_match": {"prefix": "a"}}, 1, False),
        ({"double_match": {"exact": 1}}, 1.0, True),
        ({"double_match": {"range": {"start": 1, "end": 2}}}, 2.0, False),
        ({"double_match": {"exact": 1}}, True, False),
        ({"bool_match": True}, True, True),
        ({"bool_match": True}, False, False),
        ({"null_match": {}}, None, True),
        ({"present_match": True}, "x", True),
        ({"list_match": {"one_of": {"string_match": {"exact": "b"}}}}, ["a", "b"], True),
        ({"list_match": {"one_of": {"string_match": {"exact": "c"}}}}, ["a", "b"], False),
        ({"or_match": {"value_matchers": [{"bool_match": True}, {"null_match": {}}]}}, None, True),
    ],
)
def test_metadata(value: Any, known: Any, wanted: bool) -> None:
    subject = FakeStream(metadata={"f": {"k": known}})
    assert applies(data(value), subject=subject) is wanted
    assert applies(data(value, invert=True), subject=subject) is not wanted


def test_metadata_that_is_not_there_matches_nothing() -> None:
    values: list[dict[str, Any]] = [
        {"null_match": {}}, {"bool_match": False}, {"present_match": True},
    ]  # fmt: skip
    for value in values:
        assert not applies(data(value))


def test_filter_state_as_text_and_as_an_address() -> None:
    text = {"filter_state": {"key": "who", "string_match": {"exact": "me"}}}
    ranges = [{"address_prefix": "10.0.0.0", "prefix_len": 8}]
    address = {"filter_state": {"key": "ip", "address_match": {"ranges": ranges}}}
    subject = FakeStream(filter_state={"who": "me", "ip": "10.1.1.1"})
    assert applies(principal=text, subject=subject)
    assert applies(principal=address, subject=subject)
    assert not applies(principal=text)
    subject.filter_state["ip"] = "11.1.1.1"
    assert not applies(principal=address, subject=subject)


def test_the_first_policy_by_name_is_the_one_that_is_named() -> None:
    anybody = {"permissions": [ANY], "principals": [ANY]}
    assert engine(b=anybody, a=anybody).judge(FakeStream())[0] == "a"


@pytest.mark.parametrize(
    ("action", "by_policy", "by_none"),
    [("ALLOW", True, False), ("DENY", False, True), ("LOG", True, True)],
)
def test_what_an_action_makes_of_it(action: str, by_policy: bool, by_none: bool) -> None:
    anybody = {"permissions": [ANY], "principals": [ANY]}
    assert engine(action).judge(FakeStream()) == (None, by_none)
    assert engine(action, p=anybody).judge(FakeStream()) == ("p", by_policy)


def test_an_ipv4_address_that_a_header_writes_as_ipv6_is_one_of_ipv6() -> None:
    """As in Envoy. Of sockets it is known as IPv4 from the start."""
    old, new = in_range((CidrRange("10.0.0.0", 8),)), in_range((CidrRange("::ffff:10.0.0.0", 104),))
    assert [inside("10.1.2.3") for inside in (old, new)] == [True, False]
    assert [inside("::ffff:10.1.2.3") for inside in (old, new)] == [False, True]
    assert not any(old(host) for host in ("11.1.2.3", "::1", "@abstract"))


def test_a_name_of_nobody_is_none_without_tls() -> None:
    """Any name matches an empty prefix, but only over TLS is there somebody to have it."""
    anybody = {"authenticated": {"principal_name": {"safe_regex": {"regex": ".*"}}}}
    assert applies(principal=anybody, subject=FakeStream(info=TLS))
    assert not applies(principal=anybody, subject=FakeStream(info=info(tls=False)))
