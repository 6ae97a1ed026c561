"""What of a request decides its host: the hashes are Envoy's (xxHash64, seed 0)."""

from __future__ import annotations

from typing import Any

import pytest
from xxhash import xxh64_intdigest as xxh64

from proxy.config.model import HashPolicy, RegexRewrite
from proxy.connection import ConnectionInfo
from proxy.http.headers import Headers
from proxy.http.message import Request
from proxy.route.hashing import request_hash

HERE = ConnectionInfo(("10.0.0.1", 5), ("10.0.0.2", 80), ("10.0.0.2", 80))


class Asked:
    """A request that is hashed."""

    def __init__(self, path: bytes = b"/", *pairs: tuple[bytes, bytes]) -> None:
        self.request = Request(b"GET", path, b"a", Headers.of(pairs))
        self.info = HERE
        self.remote = ("192.0.2.9", 1)
        self.filter_state: dict[str, Any] = {"k": "state"}
        self.cookies: list[bytes] = []

    def set_cookie(self, cookie: bytes) -> None:
        self.cookies.append(cookie)


def hashed(asked: Asked, *policies: HashPolicy) -> int | None:
    found = request_hash(policies)
    assert found is not None
    return found(asked)


X = HashPolicy("header", "x")


@pytest.mark.parametrize(
    "policy, asked, found",
    [
        (X, Asked(b"/", (b"x", b"v")), xxh64(b"v")),
        (X, Asked(), None),
        (X, Asked(b"/", (b"x", b"b"), (b"x", b"a")), xxh64(b"b", xxh64(b"a"))),
        (HashPolicy("query_parameter", "q"), Asked(b"/?p&q=1&q=2"), xxh64(b"1")),
        (HashPolicy("source_ip"), Asked(), xxh64(b"192.0.2.9")),
        (HashPolicy("filter_state", "k"), Asked(), xxh64(b"state")),
        (HashPolicy("filter_state", "other"), Asked(), None),
        (HashPolicy("cookie", "c"), Asked(b"/", (b"cookie", b'b=1; c="2"; c=3')), xxh64(b"2")),
        (HashPolicy("cookie", "c"), Asked(b"/", (b"cookie", b"C=1")), None),
    ],
)
def test_sources(policy: HashPolicy, asked: Asked, found: int | None) -> None:
    assert hashed(asked, policy) == found


def test_a_header_may_be_rewritten_first() -> None:
    policy = HashPolicy("header", "x", regex_rewrite=RegexRewrite("^(..).*", "\\1"))
    assert hashed(Asked(b"/", (b"x", b"abc")), policy) == xxh64(b"ab")


def test_rules_are_mixed_so_that_none_cancels_another() -> None:
    asked = Asked(b"/", (b"x", b"v"))
    one = xxh64(b"v")
    rotated = (one << 1 | one >> 63) & 0xFFFF_FFFF_FFFF_FFFF
    assert hashed(asked, X, X) == rotated ^ one != 0


def test_a_terminal_rule_ends_the_search_only_with_a_hash() -> None:
    first = HashPolicy("header", "x", terminal=True)
    second = HashPolicy("source_ip")
    assert hashed(Asked(b"/", (b"x", b"v")), first, second) == xxh64(b"v")
    assert hashed(Asked(), first, second) == xxh64(b"192.0.2.9")


def test_a_cookie_is_made_where_there_is_none() -> None:
    attributes = (("Secure", ""), ("SameSite", "Lax"))
    policy = HashPolicy("cookie", "c", ttl_s=9, path="/p", attributes=attributes)
    asked = Asked()
    value = b"%016x" % xxh64(b"10.0.0.1:510.0.0.2:80")
    assert hashed(asked, policy) == xxh64(value)
    tail = b"; Max-Age=9; Path=/p; Secure; SameSite=Lax; HttpOnly"
    assert asked.cookies == [b'c="' + value + b'"' + tail]
    session = Asked()
    hashed(session, HashPolicy("cookie", "c", ttl_s=0))
    assert session.cookies == [b'c="' + value + b'"; HttpOnly']


def test_no_policy_no_hash() -> None:
    assert request_hash(()) is None
