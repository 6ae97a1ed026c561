"""Join tokens: whom they stand for, how often, how long, and that a restart forgets nothing."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from certs.errors import CertificateError
from certs.spiffe import SpiffeId
from controlplane.ca import tokens as tokens_module
from controlplane.ca.tokens import MAX_TTL_S, JoinTokens, Refusal, TooManyTokensError

NOW = 1_800_000_000.0
IDENTITY = SpiffeId.workload("td", "shop", "cart")
KEY, OTHER_KEY = b"public key", b"another public key"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def tokens(path: Path) -> JoinTokens:
    return JoinTokens(path, "td")


def test_a_token_is_long_random_and_not_kept(tokens: JoinTokens, path: Path) -> None:
    one, two = (tokens.create("shop", "cart", 60, False, NOW) for _ in range(2))
    assert one.token != two.token
    assert len(one.token) >= 43
    assert (one.identity, one.expires_at) == (IDENTITY, NOW + 60)
    assert one.token not in path.read_text()
    assert one.token not in repr(one)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_single_use_means_one_key_as_often_as_it_takes(tokens: JoinTokens) -> None:
    token = tokens.create("shop", "cart", 60, False, NOW).token
    assert tokens.spend(token, KEY, NOW) == IDENTITY
    assert tokens.spend(token, KEY, NOW + 59) == IDENTITY
    assert tokens.spend(token, OTHER_KEY, NOW + 1) is Refusal.USED
    assert tokens.spend(token, KEY, NOW + 60) is Refusal.EXPIRED


def test_reusable_means_any_key(tokens: JoinTokens) -> None:
    token = tokens.create("shop", "cart", 60, True, NOW).token
    assert tokens.spend(token, KEY, NOW) == IDENTITY
    assert tokens.spend(token, OTHER_KEY, NOW) == IDENTITY
    assert tokens.authenticate(token, NOW) == IDENTITY
    assert tokens.authenticate(token, NOW + 60) is Refusal.EXPIRED


def test_a_single_use_token_opens_no_stream(tokens: JoinTokens) -> None:
    token = tokens.create("shop", "cart", 60, False, NOW).token
    assert tokens.authenticate(token, NOW) is Refusal.SINGLE_USE
    assert tokens.identify(token, NOW) == IDENTITY
    assert tokens.spend(token, KEY, NOW) == IDENTITY


@pytest.mark.parametrize("token", ["", "x", "\udcff", "a" * 100_000])
def test_unknown_tokens(tokens: JoinTokens, token: str) -> None:
    tokens.create("shop", "cart", 60, True, NOW)
    assert tokens.authenticate(token, NOW) is Refusal.UNKNOWN
    assert tokens.identify(token, NOW) is Refusal.UNKNOWN
    assert tokens.spend(token, KEY, NOW) is Refusal.UNKNOWN


def test_a_restart_keeps_tokens_and_what_they_were_spent_on(tokens: JoinTokens, path: Path) -> None:
    fresh, spent, reusable = (
        tokens.create("shop", "cart", 60, reusable, NOW).token for reusable in (False, False, True)
    )
    tokens.spend(spent, KEY, NOW)
    again = JoinTokens(path, "td")
    assert again.spend(spent, OTHER_KEY, NOW) is Refusal.USED
    assert again.spend(spent, KEY, NOW) == IDENTITY
    assert again.spend(fresh, OTHER_KEY, NOW) == IDENTITY
    assert again.authenticate(reusable, NOW) == IDENTITY


@pytest.mark.parametrize(
    ("namespace", "account", "ttl_s", "complaint"),
    [
        ("", "cart", 60, "namespace"),
        ("shop", "a/b", 60, "service account"),
        ("shop", "cart", 0, "not positive"),
        ("shop", "cart", -1, "not positive"),
        ("shop", "cart", float("nan"), "not positive"),
    ],
)
def test_what_makes_no_token(
    tokens: JoinTokens, path: Path, namespace: str, account: str, ttl_s: float, complaint: str
) -> None:
    with pytest.raises(CertificateError, match=complaint):
        tokens.create(namespace, account, ttl_s, False, NOW)
    assert not path.exists()


def test_the_lifetime_is_bounded(tokens: JoinTokens) -> None:
    assert tokens.create("shop", "cart", 1e12, True, NOW).expires_at == NOW + MAX_TTL_S


def test_the_number_is_bounded_and_expired_ones_make_room(
    tokens: JoinTokens, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "MAX_TOKENS", 3)
    for ttl_s in (10, 60, 60):
        tokens.create("shop", "cart", ttl_s, False, NOW)
    with pytest.raises(TooManyTokensError, match="3 live join tokens"):
        tokens.create("shop", "cart", 60, False, NOW + 9)
    tokens.create("shop", "cart", 60, False, NOW + 10)
    assert len(json.loads(path.read_text())["tokens"]) == 3


def test_a_full_disk_spends_nothing(tokens: JoinTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tokens.create("shop", "cart", 60, False, NOW).token

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space"):
            tokens.spend(token, KEY, NOW)
        with pytest.raises(OSError, match="No space"):
            tokens.create("shop", "cart", 60, False, NOW)
    assert tokens.spend(token, OTHER_KEY, NOW) == IDENTITY


def test_a_file_that_the_next_start_could_not_read_is_never_written(
    tokens: JoinTokens, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "MAX_FILE_BYTES", 2000)
    made = []
    with pytest.raises(TooManyTokensError, match=r"fill tokens\.json"):
        while True:
            made.append(tokens.create("shop", "cart", 60, False, NOW).token)
    for token in made:
        assert tokens.spend(token, KEY, NOW) == IDENTITY
    assert 1000 < path.stat().st_size <= 2000
    assert tokens.create("shop", "cart", 60, False, NOW + 61).identity == IDENTITY


GOOD = {
    "sha256": "0" * 64,
    "identity": str(IDENTITY),
    "expires_at": NOW,
    "reusable": True,
    "key_sha256": "",
}


def file_with(**changes: object) -> str:
    return json.dumps({"version": 1, "tokens": [GOOD | changes]})


def test_the_file_of_an_earlier_version_is_taken_over(path: Path) -> None:
    path.touch(0o600)
    path.write_text(file_with())
    tokens = JoinTokens(path, "td")
    tokens.create("shop", "cart", 60, False, NOW - 1)
    assert len(JoinTokens(path, "td").live(NOW - 1)) == 2
    assert json.loads(path.read_text())["version"] == 2


def test_no_change_of_a_byte_makes_another_token(tokens: JoinTokens, path: Path) -> None:
    tokens.create("shop", "cart", 60, True, NOW)
    text, before = path.read_bytes(), tokens.live(NOW)
    for position in range(len(text)):
        path.write_bytes(text[:position] + bytes([text[position] ^ 1]) + text[position + 1 :])
        try:
            assert JoinTokens(path, "td").live(NOW) == before, "only where it changed nothing"
        except CertificateError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        "\x00\xff",
        '{"version": 2, "tokens": []}',
        '{"version": 3, "tokens": []}',
        '{"version": 1}',
        '{"version": 1, "tokens": [1]}',
        file_with(extra=1),
        file_with(sha256="zz"),
        file_with(sha256=1),
        file_with(identity="spiffe://td"),
        file_with(identity="cart"),
        file_with(expires_at="tomorrow"),
        file_with(expires_at=True),
        file_with(reusable="no"),
        file_with(key_sha256="0"),
        file_with(key_sha256=None),
    ],
)
def test_a_file_that_is_not_ours_is_refused_and_left_alone(path: Path, content: str) -> None:
    path.touch(0o600)
    path.write_text(content)
    with pytest.raises(CertificateError, match="not a file of join tokens") as caught:
        JoinTokens(path, "td")
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500
    assert path.read_text() == content


def test_an_open_file_is_refused(path: Path) -> None:
    path.write_text(file_with())
    path.chmod(0o644)
    with pytest.raises(CertificateError, match="chmod 600"):
        JoinTokens(path, "td")


def test_tokens_of_another_trust_domain_are_refused(tokens: JoinTokens, path: Path) -> None:
    tokens.create("shop", "cart", 60, False, NOW)
    before = path.read_bytes()
    with pytest.raises(CertificateError, match="trust domain td, not other"):
        JoinTokens(path, "other")
    assert path.read_bytes() == before


def test_tokens_are_listed_by_whom_and_until_when(tokens: JoinTokens) -> None:
    late = tokens.create("shop", "cart", 90, True, NOW)
    soon = tokens.create("shop", "cart", 60, False, NOW)
    tokens.spend(soon.token, KEY, NOW)
    other = tokens.create("bank", "till", 90, False, NOW)
    shown = [(one.sha256, one.reusable, bool(one.key_sha256)) for one in tokens.live(NOW)]
    wanted = [(other.sha256, False, False), (soon.sha256, False, True), (late.sha256, True, False)]
    assert shown == wanted
    assert [one.sha256 for one in tokens.live(NOW + 60)] == [other.sha256, late.sha256]


def test_a_deleted_token_proves_nothing_also_after_a_restart(
    tokens: JoinTokens, path: Path
) -> None:
    gone, stays = (tokens.create("shop", "cart", 60, True, NOW) for _ in range(2))
    assert tokens.delete(gone.sha256[:8], NOW)
    assert not tokens.delete(gone.sha256, NOW)
    for each in (tokens, JoinTokens(path, "td")):
        assert each.identify(gone.token, NOW) is Refusal.UNKNOWN
        assert each.identify(stays.token, NOW) == IDENTITY
    for bad in ("", "1234567", "XYZ45678", stays.token):
        with pytest.raises(CertificateError, match="no id of a join token"):
            tokens.delete(bad, NOW)


def test_an_id_must_mean_one_token(tokens: JoinTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    for end in "ab":
        monkeypatch.setattr(tokens_module, "_digest", lambda token, end=end: "0" * 63 + end)
        tokens.create("shop", "cart", 60, True, NOW)
    with pytest.raises(CertificateError, match="2 join tokens begin with 00000000"):
        tokens.delete("00000000", NOW)
    assert tokens.delete("0" * 63 + "b", NOW)
    assert len(tokens.live(NOW)) == 1
