"""Matchers: tables of (matcher, value, verdict)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from proxy import match
from proxy.config.model import (
    FractionalPercent,
    HeaderMatcher,
    QueryParameterMatcher,
    StringMatcher,
)
from proxy.http.headers import Headers
from proxy.http.message import Request
from proxy.runtime import RuntimeValues


def a_request(path: bytes = b"/", *pairs: tuple[bytes, bytes]) -> Request:
    return Request(b"GET", path, b"Host:80", Headers.of(pairs), scheme=b"https")


def exact(value: str, **more: Any) -> StringMatcher:
    return StringMatcher("exact", value, **more)


@pytest.mark.parametrize(
    "kind, wanted, ignore_case, value, verdict",
    [
        ("exact", "abc", False, b"abc", True),
        ("exact", "abc", False, b"ABC", False),
        ("exact", "aBc", True, b"AbC", True),
        ("exact", "", False, b"", True),
        ("prefix", "ab", False, b"abc", True),
        ("prefix", "ab", False, b"xab", False),
        ("prefix", "AB", True, b"abc", True),
        ("suffix", "bc", False, b"abc", True),
        ("suffix", "bc", False, b"bcx", False),
        ("contains", "b", False, b"abc", True),
        ("contains", "B", True, b"abc", True),
        ("contains", "x", False, b"abc", False),
        ("regex", "a.c", False, b"abc", True),
        ("regex", "a.c", False, b"abcd", False),  # the whole value
        ("regex", "a.c", False, b"xabc", False),
        ("regex", "ABC", True, b"abc", False),  # ignore_case does not change a regex
        ("regex", "(?i)ABC", False, b"abc", True),
        ("regex", ".", False, "\u00e9".encode(), False),  # each byte is a character ...
        ("regex", "..", False, "\u00e9".encode(), True),
        ("regex", ".*", False, b"\xff", True),  # ... whatever it is
        ("exact", "é", False, "é".encode(), True),
    ],
)
def test_strings(kind: Any, wanted: str, ignore_case: bool, value: bytes, verdict: bool) -> None:
    assert match.string(StringMatcher(kind, wanted, ignore_case))(value) is verdict


X = (b"X-A", b"5")
HEADERS: list[tuple[dict[str, Any], tuple[tuple[bytes, bytes], ...], bool]] = [
    ({"string": exact("5")}, (X,), True),
    ({"string": exact("6")}, (X,), False),
    ({"string": exact("5")}, (), False),
    ({"string": exact("5"), "invert": True}, (X,), False),
    ({"string": exact("6"), "invert": True}, (X,), True),
    ({"string": exact("")}, (), False),
    ({"string": exact(""), "treat_missing_as_empty": True}, (), True),
    ({"string": exact("5"), "invert": True, "treat_missing_as_empty": True}, (), True),
    ({"present": True}, (X,), True),
    ({"present": True}, (), False),
    ({"present": False}, (), True),
    ({"present": False}, (X,), False),
    ({"present": True, "invert": True}, (), True),
    ({"present": True, "invert": True}, (X,), False),
    ({"present": True}, ((b"x-a", b""),), True),
    ({}, (X,), True),
    ({}, (), False),
    ({"range": (5, 6)}, (X,), True),
    ({"range": (4, 5)}, (X,), False),  # half-open
    ({"range": (-5, 0)}, ((b"x-a", b"-1"),), True),
    ({"range": (0, 9)}, ((b"x-a", b"5.0"),), False),
    ({"range": (0, 9)}, ((b"x-a", b"five"),), False),
    ({"range": (0, 9)}, ((b"x-a", b""),), False),
    ({"range": (0, 9)}, (), False),
    ({"range": (0, 9), "invert": True}, ((b"x-a", b"10"),), True),
]


@pytest.mark.parametrize("fields, pairs, verdict", HEADERS)
def test_headers(
    fields: dict[str, Any], pairs: tuple[tuple[bytes, bytes], ...], verdict: bool
) -> None:
    matcher = HeaderMatcher("x-A", **fields)
    assert match.header(matcher)(a_request(b"/", *pairs)) is verdict
    assert match.response_header(matcher)(Headers.of(pairs)) is verdict


@pytest.mark.parametrize(
    "name, value",
    [
        (":method", "GET"),
        (":path", "/p?q"),
        (":authority", "Host:80"),
        ("Host", "Host:80"),
        (":scheme", "https"),
    ],
)
def test_pseudo_headers(name: str, value: str) -> None:
    assert match.header(HeaderMatcher(name, exact(value)))(a_request(b"/p?q"))
    assert not match.header(HeaderMatcher(name, exact("other")))(a_request(b"/p?q"))


@pytest.mark.parametrize(
    "fields, path, verdict",
    [
        ({"string": exact("1")}, b"/?a=1", True),
        ({"string": exact("1")}, b"/?b=2&a=1&a=2", True),  # the first counts
        ({"string": exact("2")}, b"/?a=1&a=2", False),
        ({"string": exact("1")}, b"/a=1", False),
        ({"string": exact("1")}, b"/?aa=1", False),
        ({"string": exact("")}, b"/?a", True),
        ({"string": exact("")}, b"/?a=", True),
        ({"string": exact("")}, b"/?b", False),
        ({"string": exact("b=c")}, b"/?a=b=c", True),
        ({"present": True}, b"/?a", True),
        ({"present": True}, b"/?b", False),
        ({"present": False}, b"/?b", True),
        ({}, b"/?a", True),
        ({}, b"/", False),
    ],
)
def test_query_parameters(fields: dict[str, Any], path: bytes, verdict: bool) -> None:
    matcher = QueryParameterMatcher("a", **fields)
    assert match.query_parameter(matcher)(a_request(path)) is verdict


@pytest.mark.parametrize(
    "percent, low, high",
    [
        (FractionalPercent(0), 0, 0),
        (FractionalPercent(100), 1000, 1000),
        (FractionalPercent(25), 200, 300),
        (FractionalPercent(5000, 10_000), 450, 550),
    ],
)
def test_fractions(percent: FractionalPercent, low: int, high: int) -> None:
    lucky = match.fraction(percent, Random(7), RuntimeValues())
    assert low <= sum(lucky() for _ in range(1000)) <= high
