"""Sessions that a server keeps: who comes back is known, what is kept is bounded, and tickets take
over where most come in vain."""

from __future__ import annotations

import dataclasses
import gc
from typing import Any

import pytest

from proxy.config import model
from proxy.tls import kept
from proxy.tls.contexts import ClientTls, ServerTls, client_context, server_context
from proxy.tls.kept import MOST_BYTES, Kept
from proxy.tls.start import OURS, VARIABLE
from tests.support.pki import Authority, KeyPair
from tests.support.tls import SessionSide, certificate, shake_hands, validation

ROOT = Authority()
BELOW = Authority("below", above=ROOT)
SERVER = ROOT.issue(dns=("server.test",))
PEER, DEEP = ROOT.issue(uris=("spiffe://td/a",)), BELOW.issue(uris=("spiffe://td/b",))
VERSIONS = pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
FAR_S = 32_503_680_000.0  # the year 3000
SIX = 6 * 8192  # bytes: the room that six sessions of PEER take


def server(
    version: Any = "TLSv1_3", *, most_bytes: int = MOST_BYTES, only: bool = True, **how: Any
) -> ServerTls:
    common = model.CommonTls(
        certificates=(certificate(SERVER),), validation=validation(ROOT), max_version=version
    )
    made = server_context(model.DownstreamTls(common, True, **how), {})
    ours = Kept(made.ssl_context, keeps=True, only=only, most_bytes=most_bytes)
    return dataclasses.replace(made, kept=ours)


def client(pair: KeyPair = PEER) -> ClientTls:
    common = model.CommonTls(certificates=(certificate(pair),), validation=validation(ROOT))
    return client_context(model.UpstreamTls(common), {})


STRANGER = client()


class Open:
    """A connection that has shaken hands. resumed: an earlier one's session."""

    def __init__(self, at_client: ClientTls, at_server: ServerTls) -> None:
        self.session = at_server.session()
        self.here = SessionSide(self.session)
        self.there = SessionSide(at_client.session())
        shake_hands(self.there, self.here)
        ticket = self.here.taken()
        self.ticket_bytes = len(ticket)
        assert self.there.decrypt(ticket + self.here.encrypt(b"x")) == b"x"
        self.there.keep()
        assert at_server.verify(self.session, 0.0)
        self.resumed: bool = self.session.resumed

    def close(self) -> bool:
        for one in (self.there, self.here):
            one.over()
        return self.resumed


def comes(at_client: ClientTls, at_server: ServerTls) -> bool:
    """And goes. Whether it was known."""
    return Open(at_client, at_server).close()


def strangers(count: int, at_server: ServerTls, at_client: ClientTls = STRANGER) -> None:
    for _ in range(count):
        at_client.kept.clear()
        assert not comes(at_client, at_server)


@VERSIONS
def test_who_comes_back_is_known(version: str) -> None:
    at_client, at_server = client(), server(version)
    assert [comes(at_client, at_server) for _ in range(4)] == [False, True, True, True]
    assert not comes(at_client, server(version)), "of another context"


@VERSIONS
def test_the_oldest_make_room(version: str) -> None:
    early, late, at_server = client(), client(), server(version, most_bytes=SIX)
    comes(early, at_server)
    comes(late, at_server)
    strangers(5, at_server)
    assert len(at_server.kept) == 6
    assert comes(late, at_server)
    assert not comes(early, at_server)


def test_a_connection_that_lasts_is_not_touched_by_the_others() -> None:
    at_client, at_server = client(), server(most_bytes=SIX)
    lasting = Open(at_client, at_server)
    cipher = lasting.session.cipher
    strangers(8, at_server)
    assert lasting.there.decrypt(lasting.here.encrypt(b"still")) == b"still"
    assert lasting.session.cipher == cipher and lasting.session.group == "X25519"
    assert not comes(at_client, at_server), "its session has made room"


def test_those_that_last_leave_no_more_than_fits_behind() -> None:
    clients, at_server = [client() for _ in range(9)], server(most_bytes=SIX)
    lasting = [Open(each, at_server) for each in clients]
    while lasting:
        lasting.pop().close()
    assert [comes(each, at_server) for each in clients[:3]] == [False] * 3
    assert len(at_server.kept) == 6


def test_what_a_peer_shows_counts() -> None:
    at_server = server(most_bytes=SIX)
    deep = KeyPair(DEEP.certificate + BELOW.pem, DEEP.key)
    strangers(8, at_server, client(deep))
    assert len(at_server.kept) == 4


@VERSIONS
def test_tickets_take_over_where_most_come_in_vain(version: str) -> None:
    at_client, at_server = client(), server(version, most_bytes=SIX, only=False)
    strangers(13, at_server)
    assert at_server.kept.keeps
    strangers(1, at_server)
    assert not at_server.kept.keeps and len(at_server.kept) == 0
    assert [comes(at_client, at_server) for _ in range(9)] == [False] + [True] * 8


def test_tickets_that_nobody_brings_back_are_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_ENOUGH", 16)
    at_client, at_server = client(), server(most_bytes=SIX, only=False)
    strangers(14, at_server)
    assert [comes(at_client, at_server) for _ in range(3)] == [False, True, True]
    strangers(13, at_server)
    assert not at_server.kept.keeps, "three of 16 have had one from before"
    strangers(15, at_server)
    assert not at_server.kept.keeps
    strangers(1, at_server)
    assert at_server.kept.keeps
    assert [comes(at_client, at_server) for _ in range(3)] == [False, True, True]
    strangers(28, at_server)
    assert at_server.kept.keeps, "for longer than at first"


def test_sessions_stay_kept_where_most_are_known() -> None:
    at_client, at_server = client(), server(most_bytes=SIX, only=False)
    known = 0
    for _ in range(8):
        strangers(1, at_server)
        known += sum(comes(at_client, at_server) for _ in range(3))
    assert known == 23
    assert at_server.kept.keeps and len(at_server.kept) == 6


def test_a_kept_one_is_named_in_few_words() -> None:
    at_server = server(only=False)
    named = Open(client(), at_server)
    at_server.kept.keeps = False
    written = Open(client(), at_server)
    assert named.ticket_bytes < 250 < 600 < written.ticket_bytes


def test_all_contexts_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    monkeypatch.setattr(kept, "MOST_BYTES_OF_ALL", kept._of_all[0] + SIX)
    some = [server() for _ in range(2)]
    for at in range(8):
        strangers(1, some[at % 2])
    assert sum(len(each.kept) for each in some) == 6
    del some[0]
    gc.collect()
    strangers(8, some[0])
    assert len(some[0].kept) == 6


@pytest.mark.parametrize(
    ("how", "told", "keeps"),
    [
        ({}, str(OURS), True),
        ({}, "/etc/own.cnf", False),
        ({"stateless_resumption": False}, "/etc/own.cnf", True),
        ({"stateful_resumption": False}, str(OURS), False),
    ],
    ids=["default", "two tickets", "no tickets", "nothing kept"],
)
def test_when_sessions_are_kept(
    how: Any, told: str, keeps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, told)
    common = model.CommonTls(certificates=(certificate(SERVER),))
    assert server_context(model.DownstreamTls(common, **how), {}).kept.keeps is keeps


def test_what_does_not_hold_is_not_kept() -> None:
    """Whose certificate is none any more comes back as often as he likes."""
    at_client, at_server = client(), server()
    comes(at_client, at_server)
    session = at_server.session()
    shake_hands(SessionSide(at_client.session()), SessionSide(session))
    assert session.resumed
    assert not at_server.verify(session, FAR_S)
    assert len(at_server.kept) == 1
