"""Requests that wait for another service's word, through the whole proxy without sockets: whoever
leaves, breaks or is late, nothing stays in flight (the playbook's own check at the end)."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.compile.listeners import Chain
from proxy.config import model
from proxy.config.filters import decode_ext_authz, decode_jwt_authn
from proxy.config.model.ext_authz import BodySettings, ExtAuthzConfig, HttpAuthz
from proxy.config.model.jwt import (
    FromProvider,
    JwtAuthnConfig,
    JwtProvider,
    RemoteJwks,
    RequirementRule,
)
from proxy.config.model.services import HttpUri
from proxy.http.inquiry import Repeats
from proxy.l4.guard import Guards, Told, Visitor
from tests.support.jwt import jwks, token
from tests.support.playbook import ROUTER, Playbook, cluster, listener, route, routes, snapshot

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
NO = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"
URI = HttpUri("authz", "authz.test", "/", 1.0)


def play(config: object, url: str, **fields: Any) -> Playbook:
    filters = (model.HttpFilter("f", url, config), ROUTER)
    there = (cluster(), cluster("authz"))
    return Playbook(config=snapshot([listener(routes(route()), filters=filters, **fields)], there))


def asking(**fields: Any) -> Playbook:
    service = HttpAuthz(URI, **fields.pop("service", {}))
    return play(ExtAuthzConfig(service, **fields), decode_ext_authz.TYPE_URL)


def count(one: Playbook, name: str) -> int:
    return one.count(f"http.in.ext_authz.{name}")


def test_consent_lets_the_request_go_on() -> None:
    with asking() as one:
        client = one.client()
        client >> GET
        authz = one.accept()
        assert authz.take().startswith(b"GET / HTTP/1.1\r\nhost: a\r\n")
        authz >> OK
        up = one.accept()
        up << GET
        up >> OK
        client << OK
        assert count(one, "ok") == 1


def test_a_refusal_is_the_answer() -> None:
    with asking() as one:
        client = one.client()
        client >> POST
        one.accept() >> NO
        assert client.take().startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert one.logged == [(403, "UAEX", "ext_authz_denied")] and not one.openings


def test_the_client_leaves_before_the_word_comes() -> None:
    with asking() as one:
        client = one.client()
        client >> GET
        authz = one.accept()
        client.reset()
        assert authz.closed  # what it would say is nobody's answer
        assert one.logged[0][1] == "DC" and not one.openings


def test_the_client_leaves_before_there_is_a_connection() -> None:
    with asking() as one:
        client = one.client()
        client >> GET
        client.reset()
        assert one.accept().take() == b""


def test_the_service_breaks_off() -> None:
    with asking() as one:
        client = one.client()
        client >> GET
        one.accept().reset()
        assert client.take().startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert one.logged == [(403, "UAEX", "ext_authz_error")] and count(one, "error") == 1


def test_the_service_is_late() -> None:
    with asking(failure_mode_allow=True) as one:
        client = one.client()
        client >> GET
        authz = one.accept()
        one.tick(1.1)
        up = one.accept()
        up << GET
        assert authz.closed and count(one, "failure_mode_allowed") == 1
        up >> OK
        client << OK


def test_the_service_is_asked_again() -> None:
    repeats = Repeats(1, frozenset({"reset"}))
    with asking(service={"repeats": repeats}) as one:
        client = one.client()
        client >> GET
        one.accept().reset()
        one.tick(0.3)
        one.accept() >> OK
        one.accept() >> OK
        client << OK


def test_the_service_goes_out_of_the_configuration() -> None:
    with asking() as one:
        client = one.client()
        client >> GET
        authz = one.accept()
        one.apply(snapshot(list(one.config.listeners.values()), (cluster(),)))
        authz >> OK
        one.accept() >> OK
        client << OK
        client >> GET
        assert client.take().startswith(b"HTTP/1.1 403 Forbidden\r\n")


def test_a_body_waits_and_goes_on_whole() -> None:
    with asking(body=BodySettings(100)) as one:
        client = one.client()
        client >> POST[:-3]
        assert not one.openings
        client >> POST[-3:]
        authz = one.accept()
        assert authz.take().endswith(b"\r\n\r\nhello")
        authz >> OK
        up = one.accept()
        up << POST
        up >> OK
        client << OK


@pytest.mark.parametrize("answer", [OK, NO])
def test_the_next_request_may_come_while_one_waits(answer: bytes) -> None:
    with asking() as one:
        client = one.client()
        client >> GET + GET
        authz = one.accept()
        authz >> answer
        if answer is OK:
            one.accept() >> OK
        assert client.take().startswith(answer[:12])
        authz >> OK
        one.upstream() >> OK
        assert client.take().endswith(b"ok")


# --------------------------------------------------------------------------- keys


def tokens() -> Playbook:
    provider = JwtProvider("p", "me", remote=RemoteJwks(HttpUri("authz", "k", "/jwks", 1.0)))
    rule = RequirementRule(model.RouteMatch(prefix="/"), FromProvider("p"))
    return play(JwtAuthnConfig((provider,), (rule,)), decode_jwt_authn.TYPE_URL)


def with_token() -> bytes:
    return GET[:-2] + b"authorization: Bearer %b\r\n\r\n" % token({"iss": "me"}).encode()


def keys() -> bytes:
    body = jwks().encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def test_two_clients_wait_for_one_fetch_and_one_leaves() -> None:
    with tokens() as one:
        gone, client = one.client(), one.client()
        gone >> with_token()
        client >> with_token()
        source = one.accept()
        gone.reset()
        source >> keys()
        up = one.accept()
        up << GET
        up >> OK
        client << OK
        assert [status for status, *_ in one.logged] == [0, 200] and not one.openings


def test_keys_that_do_not_come() -> None:
    with tokens() as one:
        client = one.client()
        client >> with_token()
        one.accept()
        one.tick(1.1)
        assert client.take().endswith(b"Jwks remote fetch is failed")


# --------------------------------------------------------------------------- guards


class Patient:
    def __init__(self) -> None:
        self.told: list[Told] = []
        self.cancelled = 0

    def judge(self, visitor: Visitor, told: Told) -> Any:
        self.told.append(told)
        return self.cancel

    def cancel(self) -> None:
        self.cancelled += 1


def guarded(one: Playbook) -> Patient:
    chain: Chain = one.runtime.listeners["in"].chains[0]
    guard = Patient()
    chain.guards = Guards((guard,))
    return guard


def test_a_connection_is_judged_before_its_first_request() -> None:
    with Playbook() as one:
        guard = guarded(one)
        client = one.client()
        client >> GET
        assert not one.openings and len(guard.told) == 1
        guard.told[0](None)
        one.accept() >> OK
        client << OK
        client >> GET
        assert len(guard.told) == 1  # once a connection


def test_a_client_that_leaves_while_it_is_judged() -> None:
    with Playbook() as one:
        guard = guarded(one)
        client = one.client()
        client >> GET
        client.reset()
        assert guard.cancelled == 1
