"""Service-account tokens reviewed by an API server: a fake one with its behaviour, and recorded
answers of a real one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from certs.authority import Authority
from certs.errors import CertificateError
from certs.files import write_public
from certs.spiffe import SpiffeId
from certs.x509 import chain_to_pem
from controlplane.ca.caller import Attestation, Caller, Unauthenticated
from controlplane.ca.token_review import PATH, ApiServer, TokenReviews
from tests.support.api_server import FakeApiServer, serving
from tests.support.cases import case_folder

CART = SpiffeId.workload("td", "shop", "cart")
NOW = 0.0  # the API server looks at its own clock
AUDIENCES = ("istio-ca",)


@pytest.fixture
def fake() -> FakeApiServer:
    return FakeApiServer()


@pytest.fixture
async def server(fake: FakeApiServer, tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with serving(fake, tmp_path) as address:
        yield address


@pytest.fixture
async def reviews(server: ApiServer) -> AsyncIterator[TokenReviews]:
    async with TokenReviews(server, AUDIENCES, "td") as made:
        yield made


async def refusal(reviews: TokenReviews, token: str) -> Unauthenticated:
    outcome = await reviews.check(token, NOW)
    assert isinstance(outcome, Unauthenticated)
    return outcome


async def test_a_pods_token_is_its_service_account(
    fake: FakeApiServer, reviews: TokenReviews
) -> None:
    caller = await reviews.check(fake.token("shop", "cart", pod="cart-1", node="n1"), NOW)
    assert isinstance(caller, Caller)
    assert (caller.identity, caller.how, caller.admin) == (CART, "kubernetes", False)
    attested = caller.attested
    assert (attested.pod, attested.pod_uid, attested.node) == ("cart-1", "u-cart-1", "n1")
    assert len(attested.credential) == 36


async def test_refused_tokens(fake: FakeApiServer, reviews: TokenReviews) -> None:
    gone = fake.token("shop", "cart", pod="cart-2")
    fake.delete_pod("cart-2")
    for token, kind, words in (
        ("x.y.z", "token_rejected", "invalid bearer token"),
        (fake.token("shop", "cart", audiences=["vault"]), "token_audience", "vault"),
        (fake.token("shop", "cart", ttl_s=-5), "token_expired", "expired"),
        (gone, "token_rejected", "pod no longer exists"),
    ):
        outcome = await refusal(reviews, token)
        assert (outcome.kind, outcome.temporary) == (kind, False)
        assert words in outcome.reason
        assert token not in outcome.reason


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ({}, "token_rejected"),
        ({"authenticated": "true", "user": {}}, "token_rejected"),
        ({"authenticated": True}, "token_rejected"),
        ({"authenticated": True, "user": {}, "audiences": []}, "token_audience"),
        ({"authenticated": True, "user": {}, "audiences": "istio-ca"}, "token_audience"),
        ({"authenticated": True, "user": {"username": "jane"}, "audiences": ["istio-ca"]},
         "token_subject"),
        ({"authenticated": True, "audiences": ["istio-ca"], "user": {
            "username": "jane", "groups": ["system:serviceaccounts"]}}, "token_subject"),
        ({"authenticated": True, "audiences": ["istio-ca"], "user": {
            "username": "system:serviceaccount:shop:cart", "groups": ["system:authenticated"]}},
         "token_subject"),
        ({"authenticated": True, "audiences": ["istio-ca"], "user": {
            "username": "system:serviceaccount:shop:", "groups": ["system:serviceaccounts"]}},
         "token_subject"),
        ({"authenticated": True, "audiences": ["istio-ca"], "user": {
            "username": "system:serviceaccount:a/b:c", "groups": ["system:serviceaccounts"]}},
         "token_subject"),
    ],
)  # fmt: skip
async def test_answers_that_prove_nothing(
    fake: FakeApiServer, reviews: TokenReviews, status: dict[str, object], kind: str
) -> None:
    fake.answer = (201, json.dumps({"status": status}))
    assert (await refusal(reviews, "x.y.z")).kind == kind


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((500, ""), "answers 500"),
        ((403, ""), "system:auth-delegator"),
        ((401, ""), "our own token"),
        ((307, ""), "answers 307"),
        ((201, "{"), "Expecting property name"),
        ((201, "[]"), "no TokenReview"),
        ((201, '{"status": 1}'), "no TokenReview"),
        ((201, " " * (1 << 20) + "{}"), "larger than"),
    ],
)
async def test_an_api_server_that_fails_is_nobodys_proof(
    fake: FakeApiServer,
    reviews: TokenReviews,
    answer: tuple[int, str],
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake.answer = answer
    outcome = await refusal(reviews, "x.y.z")
    assert outcome.temporary and outcome.kind == "review_unavailable"
    assert words in caplog.text
    assert fake.reviews == 1  # nor is a redirection followed
    fake.answer = None
    assert isinstance(await reviews.check(fake.token("shop", "cart"), NOW), Caller)


async def test_our_own_token_is_read_each_time(
    fake: FakeApiServer, reviews: TokenReviews, server: ApiServer
) -> None:
    token = fake.token("shop", "cart")
    fake.own_tokens = {"renewed"}
    assert (await refusal(reviews, token)).temporary
    server.token_file.write_text("renewed")
    assert isinstance(await reviews.check(token, NOW), Caller)


async def test_a_server_of_another_ca_is_not_asked(
    fake: FakeApiServer, server: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with serving(FakeApiServer(), other) as foreign:
        mixed = ApiServer(server.url, foreign.ca_file, server.token_file)
        async with TokenReviews(mixed, AUDIENCES, "td") as reviews:
            assert (await refusal(reviews, fake.token("shop", "cart"))).temporary
    assert fake.reviews == 0
    assert "certificate verify failed" in caplog.text


async def test_the_ca_is_read_again_when_its_file_changes(
    fake: FakeApiServer, server: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token, right = fake.token("shop", "cart"), server.ca_file.read_bytes()
    ca_file = tmp_path / "mounted.crt"
    ca_file.write_bytes(right)
    async with TokenReviews(ApiServer(server.url, ca_file, server.token_file), AUDIENCES, "td") as (
        reviews
    ):
        assert isinstance(await reviews.check(token, NOW), Caller)
        # Another CA now: the connection that is kept open does not count any more.
        write_public(ca_file, chain_to_pem([Authority.create("td", 0.0).certificate]))
        assert (await refusal(reviews, token)).temporary
        write_public(ca_file, right)
        assert isinstance(await reviews.check(token, NOW), Caller)
        for spoiled in (b"garbage", b"\xff"):
            write_public(ca_file, spoiled)
            assert isinstance(await reviews.check(token, NOW), Caller)
        ca_file.unlink()
        assert isinstance(await reviews.check(token, NOW), Caller)
    assert caplog.text.count("verified as before") == 3


async def test_a_bad_ca_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    with pytest.raises(CertificateError, match="No such file"):
        TokenReviews(ApiServer("https://x", path), AUDIENCES, "td")
    path.write_text("garbage")
    with pytest.raises(CertificateError, match="holds no certificate"):
        TokenReviews(ApiServer("https://x", path), AUDIENCES, "td")


async def test_what_a_real_api_server_answered(fake: FakeApiServer, reviews: TokenReviews) -> None:
    exchanges = json.loads((case_folder("k8s-api-recordings") / "exchanges.json").read_text())
    found = {
        exchange["name"]: await _replay(fake, reviews, exchange)
        for exchange in exchanges
        if exchange["request"]["path"] == PATH
    }
    credential = "8019673a-e11c-40b1-8e58-31a5b2705969"
    assert found["token-review-ok"] == Caller(
        SpiffeId.workload("td", "rec", "default"),
        admin=False,
        how="kubernetes",
        attested=Attestation(credential=credential),
    )
    wrong, bad = found["token-review-wrong-audience"], found["token-review-bad"]
    assert isinstance(wrong, Unauthenticated) and wrong.kind == "token_audience"
    assert isinstance(bad, Unauthenticated) and bad.kind == "token_rejected"


async def _replay(
    fake: FakeApiServer, reviews: TokenReviews, exchange: dict[str, dict[str, object]]
) -> Caller | Unauthenticated:
    response = exchange["response"]
    assert isinstance(response["status"], int)
    fake.answer = (response["status"], json.dumps(response["body"]))
    return await reviews.check("x.y.z", NOW)
