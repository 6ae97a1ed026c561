"""jwt_authn where time and other services matter: keys that are fetched, waited for, kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2
from google.protobuf import json_format

from proxy.config.filters.decode_jwt_authn import decode, decode_per_route
from proxy.config.rejected import Rejected
from proxy.filters import jwt_authn
from proxy.filters.api import WAIT, Hooks, Reply
from proxy.filters.jwt_places import Places, without_parameter
from proxy.filters.jwt_provider import TokenCache, claim_text
from proxy.http.inquiry import Inquiry, Outcome, Told
from tests.support.filters import Clock, FakeStream, context, request
from tests.support.jwt import OTHER_SECRET, jwks, token

REMOTE = {"http_uri": {"uri": "https://keys.test/jwks", "cluster": "keys", "timeout": "1s"}}
GOOD = token({"iss": "me"})


@dataclass
class KeyServer:
    """Notes who asks; `answer` is what they are told."""

    waiting: list[tuple[Inquiry, Told]] = field(default_factory=list)

    def ask(self, inquiry: Inquiry, told: Told) -> Any:
        self.waiting.append((inquiry, told))
        return self

    def cancel(self) -> None:
        raise AssertionError("what is fetched is good for all")

    def answer(self, body: str = "", status: int = 200) -> None:
        _, told = self.waiting.pop(0)
        told(Outcome(status, body=body.encode()))


@dataclass
class Filter:
    """A filter with one provider `p`, whose keys are elsewhere, and a rule for every path."""

    remote: dict[str, Any] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    server: KeyServer = field(default_factory=KeyServer)

    def __post_init__(self) -> None:
        provider = {"issuer": "me", "remote_jwks": {**REMOTE, **self.remote}}
        self.context = context(self.clock, ask=self.server.ask)
        config = {
            "providers": {"p": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
        }
        hooks = jwt_authn.build(decoded(config), self.context).for_route(())
        assert hooks is not None
        self.hooks: Hooks = hooks

    def ask(self, text: str = GOOD) -> tuple[FakeStream, Any]:
        stream = FakeStream(request(authorization=f"Bearer {text}"))
        assert self.hooks.on_request is not None
        return stream, self.hooks.on_request(stream)

    def count(self, name: str) -> int:
        return self.context.stats.counters[f"http.in.jwt_authn.{name}"].value


def decoded(config: dict[str, Any]) -> Any:
    message = json_format.ParseDict(config, config_pb2.JwtAuthentication())
    return decode(message.SerializeToString(), "config")


def test_all_who_need_the_keys_wait_for_one_fetch() -> None:
    found = Filter()
    streams = [found.ask() for _ in range(3)]
    assert [answer for _, answer in streams] == [WAIT] * 3
    ((inquiry, _),) = found.server.waiting
    assert (inquiry.cluster, inquiry.request.path, inquiry.timeout_s) == ("keys", b"/jwks", 1.0)
    found.server.answer(jwks())
    assert [stream.resumed for stream, _ in streams] == [[None]] * 3
    assert found.count("allowed") == 3 and found.count("jwks_fetch_success") == 1
    assert found.ask()[1] is None and not found.server.waiting


def test_whoever_waited_in_vain_is_refused() -> None:
    found = Filter()
    stream, _ = found.ask()
    found.server.answer("no keys", 404)
    (reply,) = stream.resumed
    assert isinstance(reply, Reply) and reply.body == b"Jwks remote fetch is failed"
    assert found.count("denied") == found.count("jwks_fetch_failed") == 1
    assert found.ask()[1] is WAIT  # the next one tries again


def test_who_has_left_is_not_resumed() -> None:
    found = Filter()
    stream, _ = found.ask()
    assert found.hooks.at_end is not None
    found.hooks.at_end(stream)
    found.server.answer(jwks())
    assert stream.resumed == []


def test_a_token_with_a_wrong_signature_waits_and_is_refused() -> None:
    found = Filter()
    stream, _ = found.ask(token({"iss": "me"}, OTHER_SECRET))
    found.server.answer(jwks())
    assert stream.resumed[0].body == b"Jwt verification fails"  # type: ignore[union-attr]


def test_keys_are_asked_for_again_when_they_are_old() -> None:
    found = Filter({"cache_duration": "60s"})
    found.ask()
    found.server.answer(jwks())
    found.clock.advance(59)
    assert found.ask()[1] is None
    found.clock.advance(1)
    assert found.ask()[1] is WAIT


def test_keys_that_are_fetched_ahead_are_renewed_without_waiting() -> None:
    found = Filter({"cache_duration": "60s", "async_fetch": {"failed_refetch_duration": "2s"}})
    found.clock.advance(0)
    found.server.answer(jwks())
    assert found.ask()[1] is None
    found.clock.advance(56)
    assert found.ask()[1] is None and len(found.server.waiting) == 1
    found.server.answer(status=500)
    assert found.ask()[1] is None and not found.server.waiting  # not before two seconds
    found.clock.advance(2)
    assert found.ask()[1] is None and len(found.server.waiting) == 1
    found.server.answer(jwks())
    found.clock.advance(50)
    assert found.ask()[1] is None and not found.server.waiting


def test_keys_that_are_fetched_ahead_outlive_their_end_while_there_are_no_others() -> None:
    found = Filter({"cache_duration": "60s", "async_fetch": {"failed_refetch_duration": "2s"}})
    found.clock.advance(0)
    found.server.answer(jwks())
    found.clock.advance(3600)
    stream, answer = found.ask()
    assert answer is WAIT  # whoever comes after a long time asks first
    found.server.answer(status=503)
    assert stream.resumed == [None]
    assert found.ask()[1] is None and not found.server.waiting  # not before two seconds
    found.clock.advance(2)
    other, answer = found.ask()
    assert answer is WAIT
    found.server.answer(jwks(OTHER_SECRET))
    (refusal,) = other.resumed
    assert isinstance(refusal, Reply) and refusal.status == 401


def test_keys_that_are_fetched_for_a_request_end() -> None:
    found = Filter({"cache_duration": "60s"})
    found.ask()
    found.server.answer(jwks())
    found.clock.advance(61)
    stream, answer = found.ask()
    assert answer is WAIT
    found.server.answer(status=503)
    (refusal,) = stream.resumed
    assert isinstance(refusal, Reply) and refusal.body == b"Jwks remote fetch is failed"


def test_a_cache_forgets_what_was_used_least() -> None:
    cache: Any = TokenCache(2)
    for name in ("a", "b"):
        cache.keep(name, name)
    assert cache.get("a") == "a"
    cache.keep("c", "c")
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == ("a", None, "c")


@pytest.mark.parametrize(
    ("path", "left"),
    [
        (b"/p?t=x", b"/p"),
        (b"/p?a=1&t=x&b=%26%20", b"/p?a=1&b=%26%20"),
        (b"/p?%74=x&tt=1", b"/p?tt=1"),
        (b"/p?t=1&t=2&c", b"/p?c"),
    ],
)
def test_a_parameter_is_taken_out_and_the_rest_stays(path: bytes, left: bytes) -> None:
    assert without_parameter(path, b"t") == left


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (1.0, "1"),
        (-1, "-1.000000"),
        (None, ""),
        ({"a": [1]}, "eyJhIjpbMV19"),
        (2**70, f"{float(2**70):f}"),
    ],
)
def test_a_claim_as_a_header_tells_it(value: object, text: str) -> None:
    assert claim_text(value) == text


def test_every_place_is_looked_at_once() -> None:
    """What is not looked at would pass to the application unproven."""
    names = [f"c{number}" for number in range(50)]
    config = decoded({"providers": {"p": {"from_cookies": names, "remote_jwks": REMOTE}}})
    cookies = "; ".join(f"{name}=t" for name in [*names, *names])
    assert len(Places(config.providers).find(request(cookie=cookies))) == 50


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"providers": {"p": {"local_jwks": {"inline_string": "{}"}}}}, "providers[p].local_jwks"),
        ({"rules": [{"match": {"prefix": "/"}, "requirement_name": "x"}]}, "requirement_name"),
        (
            {"rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "x"}}]},
            "rules[0].requires.provider_name",
        ),
        (
            {
                "providers": {
                    "p": {"remote_jwks": REMOTE, "jwt_cache_config": {"jwt_cache_size": 10**6}}
                }
            },
            "jwt_cache_size",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_path(config: dict[str, Any], where: str) -> None:
    with pytest.raises(Rejected) as error:
        decoded(config)
    assert where in str(error.value)


def test_a_weak_key_is_taken_and_proves_nothing() -> None:
    secret = b"short"
    keys = {"inline_string": jwks(secret)}
    config = decoded(
        {
            "providers": {"p": {"local_jwks": keys}},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
        }
    )
    hooks = jwt_authn.build(config, context()).for_route(())
    assert hooks is not None and hooks.on_request is not None
    stream = FakeStream(request(authorization=f"Bearer {token({'iss': 'me'}, secret)}"))
    reply = hooks.on_request(stream)
    assert isinstance(reply, Reply)
    assert reply.body == b"Jwks doesn't have any valid public key"


def test_a_route_may_turn_it_off() -> None:
    built = jwt_authn.build(decoded({"providers": {"p": {"remote_jwks": REMOTE}}}), context())
    message = config_pb2.PerRouteConfig(disabled=True)
    hooks = built.for_route((decode_per_route(message.SerializeToString(), "route"),))
    assert hooks is not None and hooks.on_request is not None
    assert hooks.on_request(FakeStream()) is None


def with_claims(**more: Any) -> Hooks:
    """Two providers with the same secret; `b` is asked for nowhere."""
    made = {
        name: {
            "issuer": issuer,
            "local_jwks": {"inline_string": jwks()},
            "claim_to_headers": [{"header_name": f"x-role-{name}", "claim_name": "role"}],
            "forward_payload_header": f"x-payload-{name}",
        }
        for name, issuer in (("a", "me"), ("b", "you"))
    }
    rules = [{"match": {"prefix": "/a"}, "requires": {"provider_name": "a"}}]
    config = decoded({"providers": made, "rules": rules, **more})
    hooks = jwt_authn.build(config, context()).for_route(())
    assert hooks is not None
    return hooks


def asked_with(hooks: Hooks, text: str, path: str = "/a", **headers: str) -> tuple[FakeStream, Any]:
    stream = FakeStream(request(path, authorization=f"Bearer {text}", **headers))
    assert hooks.on_request is not None
    return stream, hooks.on_request(stream)


@pytest.mark.parametrize(
    "role", ["a\r\nx-user: admin\r\n\r\nGET /internal", "a\nb", "a\rb", "a\0b", "a\x01", "a\x7f"]
)
def test_a_claim_that_is_no_header_goes_nowhere(role: str) -> None:
    stream, reply = asked_with(with_claims(), token({"iss": "me", "role": role}))
    assert isinstance(reply, Reply)
    assert (reply.status, reply.flag) == (503, "DPE")
    assert reply.body == b"invalid header value for: x-role-a"
    assert b"x-role-a" not in stream.request.headers


def test_half_a_letter_is_no_claim() -> None:
    _, reply = asked_with(with_claims(), token({"iss": "me", "role": "\ud800"}))
    assert isinstance(reply, Reply) and reply.body == b"Jwt payload is an invalid JSON"
    stream, passed = asked_with(with_claims(), token({"iss": "me", "role": "\U0001f600"}))
    assert passed is None
    assert stream.request.headers.get(b"x-role-a") == "\U0001f600".encode()


FORGED = {"x_role_a": "admin", "x_role_b": "admin", "x_payload_b": "forged"}


def left(stream: FakeStream) -> list[tuple[bytes, bytes]]:
    names = (b"x-role-a", b"x-role-b", b"x-payload-b")
    return [pair for pair in stream.request.headers if pair[0] in names]


def test_a_client_writes_no_claims_of_another_provider() -> None:
    stream, reply = asked_with(with_claims(), token({"iss": "me", "role": "user"}), **FORGED)
    assert reply is None
    assert left(stream) == [(b"x-role-a", b"user")]


def test_a_client_writes_no_claims_where_no_token_is_asked_for() -> None:
    stream, reply = asked_with(with_claims(), GOOD, "/free", **FORGED)
    assert reply is None and not left(stream)


def test_a_preflight_carries_no_claims() -> None:
    hooks = with_claims(bypass_cors_preflight=True)
    headers = {"origin": "http://a.test", "access_control_request_method": "PUT", **FORGED}
    stream = FakeStream(request("/a", "OPTIONS", **headers))
    assert hooks.on_request is not None
    assert hooks.on_request(stream) is None and not left(stream)


def test_a_route_without_tokens_carries_no_claims() -> None:
    keys = {"inline_string": jwks()}
    claims = [{"header_name": "x-role-a", "claim_name": "role"}]
    providers = {"a": {"local_jwks": keys, "claim_to_headers": claims}}
    built = jwt_authn.build(decoded({"providers": providers}), context())
    message = config_pb2.PerRouteConfig(disabled=True)
    hooks = built.for_route((decode_per_route(message.SerializeToString(), "route"),))
    assert hooks is not None and hooks.on_request is not None
    stream = FakeStream(request(x_role_a="admin"))
    assert hooks.on_request(stream) is None and not left(stream)
