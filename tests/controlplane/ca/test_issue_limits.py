"""How fast certificates are given out, as a table of times."""

from __future__ import annotations

import pytest

from certs.errors import CertificateError
from controlplane.ca import limits
from controlplane.ca.limits import (
    IssueLimits,
    IssueRates,
    Limit,
    RateLimit,
    read_limits,
)
from controlplane.rpc.peer import source_of


def test_a_burst_then_the_rate() -> None:
    limit = RateLimit(Limit(rate=2.0, burst=3))
    now = 100.0
    for _ in range(3):
        assert limit.wait_s("a", now) == 0
        limit.count("a", now)
    assert limit.wait_s("a", now) == pytest.approx(0.5)
    assert limit.wait_s("b", now) == 0
    assert limit.wait_s("a", now + 0.4) == pytest.approx(0.1)
    limit.count("a", now + 0.5)
    assert limit.wait_s("a", now + 0.5) == pytest.approx(0.5)
    assert limit.wait_s("a", now + 100) == 0


def test_the_one_that_was_quiet_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KEYS", 2)
    limit = RateLimit(Limit(rate=0.001, burst=1))
    for key in ("a", "b", "a", "c"):
        limit.count(key, 1.0)
    assert [bool(limit.wait_s(key, 1.0)) for key in ("a", "b", "c")] == [True, False, True]


def test_strangers_use_up_nobodys_share() -> None:
    one = Limit(rate=1.0, burst=1)
    rates = IssueRates(IssueLimits(identity=one, source=one, total=Limit(rate=1.0, burst=2)))
    assert rates.admit_source("1", 0.0) == 0
    assert rates.admit_source("1", 0.0) == pytest.approx(1.0)
    assert rates.admit_source("2", 0.0) == 0
    assert rates.admit_identity("x", 0.0) == 0
    assert rates.admit_identity("x", 0.0) == pytest.approx(1.0)
    assert rates.admit_identity("y", 0.0) == 0
    assert rates.admit_identity("z", 0.0) == pytest.approx(1.0)


def test_the_defaults_let_ten_thousand_workloads_renew_at_once() -> None:
    rates = IssueRates(IssueLimits())
    for number in range(10_000):
        assert rates.admit_source("10.0.0.1", 0.0) == 0
        assert rates.admit_identity(f"spiffe://td/ns/n/sa/{number // 4}", 0.0) == 0


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        ("ipv4:10.0.0.7:4711", "10.0.0.7"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:443", "2001:db8:1:2::"),
        ("ipv6:[2001:db8:1:2:ffff::1]:443", "2001:db8:1:2::"),
        ("unix:/run/weft.sock", "unix:/run/weft.sock"),
        ("garbage", ""),
    ],
)
def test_sources(peer: str, source: str) -> None:
    assert source_of(peer) == source


def test_limits_from_the_command_line() -> None:
    assert read_limits(()) == IssueLimits()
    given = read_limits(("identity=0.5:1", "total=10:20"))
    expected = IssueLimits(identity=Limit(0.5, 1), total=Limit(10.0, 20))
    assert given == expected


@pytest.mark.parametrize(
    "word",
    [
        "",
        "identity",
        "identity=1",
        "who=1:1",
        "total=0:1",
        "total=1:0",
        "source=1e9:1",
        "total=-1:1",
    ],
)
def test_words_that_are_no_limit(word: str) -> None:
    with pytest.raises(CertificateError, match="--issue-limit"):
        read_limits((word,))
