"""One foreign trust domain over time, as a table of times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certs.authority import Authority
from certs.spiffe_bundle import SpiffeBundle
from controlplane.federation.followed import Followed
from controlplane.mesh.federation import ForeignDomain

NOW = 1_800_000_000.0
ROOT = Authority.create("far", NOW).bundle.roots
OTHER = Authority.create("far", NOW).bundle.roots
DOMAIN = ForeignDomain("far", "https://far/")


def bundle(hint_s: int | None = 100) -> SpiffeBundle:
    return SpiffeBundle(ROOT, refresh_hint_s=hint_s)


def test_it_is_asked_at_once_and_then_as_the_bundle_says() -> None:
    followed = Followed(DOMAIN, NOW)
    assert (followed.bundle, followed.due_at) == (None, NOW)
    assert followed.got(bundle(), NOW + 1)
    assert followed.due_at == NOW + 101
    assert not followed.got(bundle(), NOW + 101)
    assert followed.got(SpiffeBundle(OTHER), NOW + 201)


@pytest.mark.parametrize(
    ("hint_s", "refresh_s"), [(None, 300), (0, 300), (1, 10), (60, 60), (10**9, 3600)]
)
def test_the_hint_is_bounded(hint_s: int | None, refresh_s: float) -> None:
    followed = Followed(DOMAIN, NOW)
    followed.got(bundle(hint_s), NOW)
    assert followed.due_at == NOW + refresh_s


def test_a_failure_takes_nothing_away() -> None:
    followed = Followed(DOMAIN, NOW)
    followed.got(bundle(), NOW)
    delays = []
    for number in range(9):
        now = NOW + 100 + number
        followed.failed("away", now, 0.0)
        delays.append(followed.due_at - now)
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert followed.bundle == bundle()
    assert (followed.error, followed.failures, followed.age_s(NOW + 150)) == ("away", 9, 150)
    assert not followed.is_late(NOW + 300)
    assert followed.is_late(NOW + 301)
    followed.got(bundle(), NOW + 400)
    assert (followed.error, followed.failures) == ("", 0)
    assert not followed.is_late(NOW + 1000)


def test_without_an_endpoint_what_is_configured_counts() -> None:
    followed = Followed(DOMAIN, NOW)
    followed.got(bundle(), NOW)
    followed.failed("away", NOW + 100, 0.0)
    static = ForeignDomain("far", "", None, SpiffeBundle(OTHER))
    followed.configured(static, NOW + 200)
    assert (followed.bundle, followed.error) == (static.first_bundle, "")
    again = replace(static, first_bundle=bundle())
    followed.configured(again, NOW + 300)
    assert followed.bundle == bundle()


def test_what_is_configured_counts_until_something_was_got() -> None:
    first, second = SpiffeBundle(ROOT), SpiffeBundle(OTHER)
    followed = Followed(replace(DOMAIN, first_bundle=first), NOW)
    assert followed.bundle is first
    followed.configured(replace(DOMAIN, first_bundle=second), NOW + 1)
    assert followed.bundle is second
    followed.got(bundle(), NOW + 2)
    followed.configured(replace(DOMAIN, url="https://elsewhere/", first_bundle=first), NOW + 3)
    assert followed.bundle == bundle()
    assert followed.due_at == NOW + 3
    followed.due_at = NOW + 50
    followed.configured(followed.domain, NOW + 4)
    assert followed.due_at == NOW + 50
