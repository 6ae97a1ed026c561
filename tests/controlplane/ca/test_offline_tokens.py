"""Service-account tokens checked with the API server's keys alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from joserfc import jwk

from certs.errors import CertificateError
from certs.spiffe import SpiffeId
from controlplane.ca.caller import Caller, Unauthenticated
from controlplane.ca.offline_tokens import OfflineOptions, OfflineTokens
from tests.support.api_server import ISSUER, FakeApiServer

NOW = 1_800_000_000.0
CART = SpiffeId.workload("td", "shop", "cart")
FAKE = FakeApiServer()
STRANGER = FakeApiServer(jwk.RSAKey.generate_key(2048, auto_kid=True))


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(FAKE.jwks())
    return path


@pytest.fixture
def tokens(jwks: Path) -> OfflineTokens:
    return OfflineTokens(OfflineOptions(jwks, ISSUER, ("istio-ca", "weft")), "td")


async def test_a_pods_token_is_its_service_account(tokens: OfflineTokens) -> None:
    text = FAKE.token("shop", "cart", pod="cart-1", node="n1", now=NOW, claims={"jti": "j 1"})
    caller = await tokens.check(text, NOW)
    assert isinstance(caller, Caller)
    assert (caller.identity, caller.how, caller.admin) == (CART, "kubernetes", False)
    assert str(caller.attested) == "pod=cart-1 pod_uid=u-cart-1 node=n1 credential=j?1"


BOUND = {"namespace": "shop", "serviceaccount": {"name": "cart"}}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("x.y.z", "token_malformed"),
        (FAKE.token("shop", "cart", now=NOW, claims={"iss": "https://other"}), "token_issuer"),
        (FAKE.token("shop", "cart", now=NOW, claims={"iss": None}), "token_issuer"),
        (STRANGER.token("shop", "cart", now=NOW), "token_signature"),
        (FAKE.token("shop", "cart", now=NOW)[:-4] + "AAAA", "token_signature"),
        (FAKE.token("shop", "cart", now=NOW - 7200), "token_expired"),
        (FAKE.token("shop", "cart", now=NOW + 3600), "token_not_yet_valid"),
        (FAKE.token("shop", "cart", now=NOW, claims={"exp": None}), "token_unsupported"),
        (FAKE.token("shop", "cart", now=NOW, audiences=["vault"]), "token_audience"),
        (FAKE.token("shop", "cart", now=NOW, audiences=["https://istio-ca/"]), "token_audience"),
        (FAKE.token("shop", "cart", now=NOW, claims={"aud": None}), "token_audience"),
        (FAKE.token("shop", "cart", now=NOW, claims={"sub": "jane"}), "token_subject"),
        (FAKE.token("shop", "cart", now=NOW, claims={"sub": None}), "token_subject"),
        (
            FAKE.token("shop", "cart", now=NOW, claims={"sub": "system:node:a:b"}),
            "token_subject",
        ),
        (FAKE.token("a", "b", now=NOW, claims={"kubernetes.io": BOUND}), "token_subject"),
        (FAKE.token("shop", "cart", now=NOW, claims={"kubernetes.io": 1}), "token_subject"),
        (FAKE.token("shop", "cart", now=NOW, claims={"kubernetes.io": None}), "token_subject"),
        (FAKE.token("shop", "../admin", now=NOW), "token_subject"),
    ],
)
async def test_refused(tokens: OfflineTokens, text: str, kind: str) -> None:
    outcome = await tokens.check(text, NOW)
    assert isinstance(outcome, Unauthenticated)
    assert (outcome.kind, outcome.temporary) == (kind, False)
    assert text not in outcome.reason


async def test_clocks_may_differ_by_seconds(tokens: OfflineTokens) -> None:
    text = FAKE.token("shop", "cart", now=NOW)
    for now, accepted in ((-11, False), (-10, True), (3610, True), (3611, False)):
        assert isinstance(await tokens.check(text, NOW + now), Caller) is accepted


async def test_new_keys_are_taken_and_broken_ones_are_not(
    tokens: OfflineTokens, jwks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = FAKE.token("shop", "cart", now=NOW), STRANGER.token("shop", "cart", now=NOW)
    replace(jwks, "garbage")
    assert isinstance(await tokens.check(old, NOW), Caller)
    assert "stay as they were" in caplog.text and str(jwks) in caplog.text
    replace(jwks, STRANGER.jwks())
    assert isinstance(await tokens.check(new, NOW), Caller)
    assert isinstance(await tokens.check(old, NOW), Unauthenticated)
    os.unlink(jwks)
    assert isinstance(await tokens.check(new, NOW), Caller)


def replace(path: Path, text: str) -> None:
    """As Kubernetes changes a mount: a new file under the old name."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def test_without_keys_there_is_no_start(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    options = OfflineOptions(path, ISSUER, ("istio-ca",))
    with pytest.raises(CertificateError, match="No such file"):
        OfflineTokens(options, "td")
    path.write_text('{"keys": []}')
    with pytest.raises(CertificateError) as caught:
        OfflineTokens(options, "td")
    assert str(path) in str(caught.value) and "valid public key" in str(caught.value)
