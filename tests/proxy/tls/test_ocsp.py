"""A client that asks for an OCSP response gets the configured one, or what the policy says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from OpenSSL import SSL

from proxy.config import model
from proxy.config.model.tls import StaplePolicy
from proxy.stats import Stats
from proxy.tls.contexts import ServerTls, server_context
from proxy.tls.counters import TlsCounters
from proxy.tls.failure import TlsConfigError, TlsFailed
from tests.support.pki import Authority
from tests.support.tls import SessionSide, certificate, shake_hands

ROOT = Authority()
PAIR, OTHER = ROOT.issue(dns=("a.test",)), ROOT.issue(dns=("a.test",))
GOOD = ROOT.ocsp(PAIR)
OVER = ROOT.ocsp(PAIR, timedelta(hours=-1))
ENDLESS = ROOT.ocsp(PAIR, None)
TROUBLE = bytes((0x30, 3, 0x0A, 1, 2))  # the responder: internalError


class Asking:
    """A client; asks: for a response, which is in `heard` then."""

    def __init__(self, asks: bool = True) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_ocsp_client_callback(self._hear)
        self.heard: bytes | None = None
        self._tls = SSL.Connection(context, None)
        self._tls.set_connect_state()
        if asks:
            self._tls.request_ocsp()

    def _hear(self, _: Any, response: bytes, __: Any) -> bool:
        self.heard = response
        return True

    def shake(self, data: bytes) -> bool:
        if data:
            self._tls.bio_write(data)
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    def taken(self) -> bytes:
        try:
            return self._tls.bio_read(1 << 16)
        except SSL.WantReadError:
            return b""


def server(response: bytes | None, policy: StaplePolicy = "LENIENT_STAPLING") -> ServerTls:
    given = None if response is None else model.DataSource(response)
    own = replace(certificate(PAIR), ocsp_staple=given)
    tls = model.DownstreamTls(model.CommonTls(certificates=(own,)), ocsp_staple_policy=policy)
    return server_context(tls, {})


def counted(side: SessionSide) -> dict[str, int]:
    stats = Stats()
    TlsCounters(stats, "listener.a.").ended(side.session)
    names = ("requests", "responses", "omitted", "failed")
    found = {name: stats.counter(f"listener.a.ssl.ocsp_staple_{name}").value for name in names}
    return {name: value for name, value in found.items() if value}


def test_who_asks_gets_the_response() -> None:
    there, here = Asking(), SessionSide(server(GOOD).session())
    shake_hands(there, here)
    assert there.heard == GOOD
    assert counted(here) == {"requests": 1, "responses": 1}


def test_who_does_not_ask_gets_none() -> None:
    there, here = Asking(asks=False), SessionSide(server(GOOD, "MUST_STAPLE").session())
    shake_hands(there, here)
    assert not there.heard
    assert counted(here) == {}


@pytest.mark.parametrize("response", [OVER, ENDLESS], ids=["over", "without an end"])
def test_one_that_is_over_is_left_out_or_ends_it(response: bytes) -> None:
    there, here = Asking(), SessionSide(server(response).session())
    shake_hands(there, here)
    assert not there.heard
    assert counted(here) == {"requests": 1, "omitted": 1}
    for policy in ("STRICT_STAPLING", "MUST_STAPLE"):
        here = SessionSide(server(response, policy).session())
        with pytest.raises(TlsFailed, match="no OCSP response to staple that is good now"):
            shake_hands(Asking(), here)
        assert counted(here) == {"requests": 1, "failed": 1}


def test_strict_is_about_those_that_are_there() -> None:
    there, here = Asking(), SessionSide(server(None, "STRICT_STAPLING").session())
    shake_hands(there, here)
    assert counted(here) == {"requests": 1, "omitted": 1}


@pytest.mark.parametrize(
    ("response", "policy", "why"),
    [
        (None, "MUST_STAPLE", "MUST_STAPLE: no ocsp_staple"),
        (ROOT.ocsp(OTHER), "LENIENT_STAPLING", "is about another certificate"),
        (TROUBLE, "LENIENT_STAPLING", "the responder says INTERNAL_ERROR"),
        (b"what", "LENIENT_STAPLING", "inline: "),
    ],
    ids=["missing", "another's", "an error", "no response"],
)
def test_what_can_not_be_stapled_is_told_at_once(
    response: bytes | None, policy: StaplePolicy, why: str
) -> None:
    with pytest.raises(TlsConfigError, match=why):
        server(response, policy)


def test_a_certificate_that_must_be_stapled_needs_a_response() -> None:
    must = ROOT.issue(dns=("a.test",), must_staple=True)
    common = model.CommonTls(certificates=(certificate(must),))
    with pytest.raises(TlsConfigError, match="says that it must be stapled"):
        server_context(model.DownstreamTls(common), {})
    own = replace(certificate(must), ocsp_staple=model.DataSource(ROOT.ocsp(must, -timedelta(1))))
    late = server_context(model.DownstreamTls(model.CommonTls(certificates=(own,))), {})
    with pytest.raises(TlsFailed):
        shake_hands(Asking(), SessionSide(late.session()))
