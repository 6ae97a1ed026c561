"""Who is calling, as tables of credentials, on a stand-in for gRPC's context that carries them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from certs.authority import Authority
from certs.keys import generate_key
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, certificate_to_pem
from controlplane.ca.authenticate import Authenticator, refused
from controlplane.ca.caller import Caller, Unauthenticated
from controlplane.ca.tokens import JoinTokens, Refusal
from tests.support import pki

NOW = 1_800_000_000.0
ADMIN_TOKEN = "administrator's secret of some length"
CART = SpiffeId.workload("td", "shop", "cart")


@dataclass(frozen=True, slots=True)
class Connection:
    """What a caller brought: metadata of the call, and the certificate of its connection."""

    metadata: tuple[tuple[str, str | bytes], ...] = ()
    certificate: str = ""
    chain: str = ""
    believed: list[str] = field(default_factory=list, compare=False)

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self.metadata

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        if not self.certificate:
            return {"transport_security_type": [b"ssl"]}
        found = {"x509_pem_cert": [self.certificate.encode()]}
        return found | ({"x509_pem_cert_chain": [self.chain.encode()]} if self.chain else {})

    def believe(self, principal: str) -> None:
        self.believed.append(principal)


def bearer(token: str) -> Connection:
    return Connection((("user-agent", "test"), ("authorization", f"Bearer {token}")))


@pytest.fixture
def tokens(tmp_path: Path) -> JoinTokens:
    return JoinTokens(tmp_path / "tokens.json", "td")


@pytest.fixture
def door(tokens: JoinTokens) -> Authenticator:
    return Authenticator(tokens, ADMIN_TOKEN, "td")


@pytest.fixture(scope="module")
def svid() -> str:
    return certificate_to_pem(signed_by(Authority.create("td", NOW), CART))


def signed_by(authority: Authority, identity: SpiffeId, ttl_s: float = 3600) -> Certificate:
    return authority.sign(generate_key().public_key(), identity, ttl_s, NOW)[0]


async def test_admin(door: Authenticator) -> None:
    for authenticate in (door.authenticate, door.authenticate_for_certificate):
        assert await authenticate(bearer(ADMIN_TOKEN), NOW) == Caller(None, admin=True, how="token")


async def test_the_server_hears_who_it_is(door: Authenticator, tokens: JoinTokens) -> None:
    token = tokens.create("shop", "cart", 60, True, NOW).token
    for text, believed in ((token, [str(CART)]), (ADMIN_TOKEN, ["administrator"]), ("no", [])):
        connection = bearer(text)
        await door.authenticate(connection, NOW)
        assert connection.believed == believed


async def test_a_token_that_is_good_once_proves_nobody_until_it_is_spent(
    door: Authenticator, tokens: JoinTokens
) -> None:
    """Else whoever finds a spent one would be charged to whom it stood for."""
    connection = bearer(tokens.create("shop", "cart", 60, False, NOW).token)
    found = await door.authenticate_for_certificate(connection, NOW)
    assert isinstance(found, Caller) and found.join_token
    assert connection.believed == []


def test_what_can_be_said_of_a_head(tokens: JoinTokens) -> None:
    door = Authenticator(tokens, ADMIN_TOKEN, "td", clock=lambda: NOW)
    token = tokens.create("shop", "cart", 60, True, NOW).token
    once = tokens.create("shop", "cart", 60, False, NOW).token
    late = tokens.create("shop", "cart", 60, True, NOW - 100).token
    for text in (token, ADMIN_TOKEN):
        assert door.knows(bearer(text).metadata)
        assert not door.knows((("authorization", f"Basic {text}"),))
    for text in (once, late, "no", "a.b.c", ""):
        assert not door.knows(bearer(text).metadata)
    assert not door.knows(())


def test_whose_connection_it_is(door: Authenticator, svid: str) -> None:
    assert door.principal(Connection(certificate=svid).auth_context()) == str(CART)
    assert door.principal({"x509_pem_cert": [b"none"]}) == ""
    assert door.principal({}) == ""


async def test_a_reusable_token_is_its_identity(door: Authenticator, tokens: JoinTokens) -> None:
    token = tokens.create("shop", "cart", 60, True, NOW).token
    assert await door.authenticate(bearer(token), NOW) == Caller(CART, admin=False, how="token")


async def test_a_single_use_token_is_for_certificates(
    door: Authenticator, tokens: JoinTokens
) -> None:
    token = tokens.create("shop", "cart", 60, False, NOW).token
    assert await door.authenticate(bearer(token), NOW) == refused(Refusal.SINGLE_USE)
    caller = await door.authenticate_for_certificate(bearer(token), NOW)
    assert caller == Caller(CART, admin=False, how="token", join_token=token)
    assert token not in repr(caller)
    late = await door.authenticate_for_certificate(bearer(token), NOW + 60)
    assert late == refused(Refusal.EXPIRED)
    assert type(late.reason) is str  # gRPC's abort takes no subclass


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["Bearer"], "not 'Bearer <token>'"),
        (["Basic YWRtaW46YWRtaW4="], "not 'Bearer <token>'"),
        ([""], "not 'Bearer <token>'"),
        (["Bearer "], "not known"),
        (["Bearer " + ADMIN_TOKEN[:-1]], "not known"),
        (["Bearer " + ADMIN_TOKEN + "x"], "not known"),
        (["Bearer " + ADMIN_TOKEN.upper()], "not known"),
        (["Bearer " + ADMIN_TOKEN, "Bearer " + ADMIN_TOKEN], "not known"),
        ([b"Bearer \xff\xfe"], "not known"),
    ],
)
async def test_bad_authorization(
    door: Authenticator, values: list[str | bytes], reason: str
) -> None:
    metadata = tuple(("authorization", value) for value in values)
    outcome = await door.authenticate(Connection(metadata), NOW)
    assert isinstance(outcome, Unauthenticated)
    assert reason in outcome.reason


async def test_the_scheme_has_no_case(door: Authenticator) -> None:
    caller = await door.authenticate(Connection((("authorization", f"bearer {ADMIN_TOKEN}"),)), NOW)
    assert isinstance(caller, Caller) and caller.admin


async def test_nothing_is_nobody(door: Authenticator) -> None:
    outcome = await door.authenticate(Connection(), NOW)
    assert isinstance(outcome, Unauthenticated)
    assert "no credentials" in outcome.reason


async def test_an_svid_is_its_identity(door: Authenticator, svid: str) -> None:
    assert await door.authenticate(Connection((), svid), NOW) == Caller(
        CART, admin=False, how="svid"
    )


async def test_a_bad_token_is_not_passed_over_for_the_certificate(
    door: Authenticator, svid: str
) -> None:
    connection = Connection((("authorization", "Bearer wrong"),), svid)
    assert await door.authenticate(connection, NOW) == refused(Refusal.UNKNOWN)


async def test_a_connection_does_not_outlive_its_certificate(
    door: Authenticator, svid: str
) -> None:
    assert isinstance(await door.authenticate(Connection((), svid), NOW + 3600), Caller)
    outcome = await door.authenticate(Connection((), svid), NOW + 3601)
    assert isinstance(outcome, Unauthenticated)
    assert "expired at" in outcome.reason


async def test_a_certificate_that_was_accepted_is_revoked(tokens: JoinTokens, svid: str) -> None:
    reasons: list[str] = []
    door = Authenticator(tokens, ADMIN_TOKEN, "td", revoked=lambda leaf: "".join(reasons))
    assert isinstance(await door.authenticate(Connection((), svid), NOW), Caller)
    reasons.append("its key was stolen")
    outcome = await door.authenticate(Connection((), svid), NOW)
    assert isinstance(outcome, Unauthenticated)
    assert (outcome.kind, "stolen" in outcome.reason) == ("certificate_revoked", True)


async def test_whoever_comes_by_a_revoked_intermediate_is_refused(
    tokens: JoinTokens, svid: str
) -> None:
    below = Authority.create("td", NOW).create_intermediate(NOW)
    bad = below.certificate.serial_number
    door = Authenticator(
        *(tokens, ADMIN_TOKEN, "td"),
        revoked=lambda one: "its root says so" if one.serial_number == bad else "",
    )
    leaf, chain = certificate_to_pem(signed_by(below, CART)), certificate_to_pem(below.certificate)
    outcome = await door.authenticate(Connection((), leaf, chain), NOW)
    assert isinstance(outcome, Unauthenticated)
    assert outcome.kind == "certificate_revoked"
    assert isinstance(await door.authenticate(Connection((), svid, svid), NOW), Caller)


async def test_certificates_that_are_no_identity(door: Authenticator) -> None:
    foreign = Authority.create("other", NOW)
    leaf = pki.Authority().issue(uris=("spiffe://td/a", "spiffe://td/b"))
    for certificate, reason in (
        (certificate_to_pem(signed_by(foreign, SpiffeId("other", "/a"))), "trust domain other"),
        (certificate_to_pem(Authority.create("td", NOW).certificate), "has no path"),
        (leaf.certificate, "2 URI names"),
        ("garbage", "no PEM certificate"),
    ):
        outcome = await door.authenticate(Connection((), certificate), NOW)
        assert isinstance(outcome, Unauthenticated)
        assert reason in outcome.reason
