"""What becomes of paths, and where redirects point: tables."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.model import RedirectAction, RegexRewrite, RouteMatch
from proxy.http.headers import Headers
from proxy.http.message import Request
from proxy.route import redirect, rewrite


@pytest.mark.parametrize(
    "match, replacement, path, expected",
    [
        ({"prefix": "/a"}, "/b", b"/a", b"/b"),
        ({"prefix": "/a"}, "/b", b"/a/c?q=1", b"/b/c?q=1"),
        ({"prefix": "/a"}, "/b", b"/abc", b"/bbc"),
        ({"prefix": "/a/"}, "/", b"/a/c", b"/c"),
        ({"prefix": "/"}, "/b/", b"/c", b"/b/c"),
        ({"path": "/a"}, "/b", b"/a?q", b"/b?q"),
        ({"path_separated_prefix": "/a"}, "/b", b"/a/c", b"/b/c"),
        ({"path_separated_prefix": "/a"}, "/b", b"/a?q", b"/b?q"),
        ({"regex": "/a.*"}, "/b", b"/abc?q", b"/b?q"),
        ({"prefix": "/a", "case_sensitive": False}, "/b", b"/A/C", b"/b/C"),
    ],
)
def test_prefixes(match: dict[str, Any], replacement: str, path: bytes, expected: bytes) -> None:
    assert rewrite.prefix_rewrite(RouteMatch(**match), replacement)(path) == expected


@pytest.mark.parametrize(
    "pattern, substitution, path, expected",
    [
        ("^/a/(.*)$", r"/b/\1", b"/a/c?q=/a/d", b"/b/c?q=/a/d"),
        ("a", "b", b"/aa?a", b"/bb?a"),  # every match, not the query
        ("/(x)/(y)", r"/\2/\1", b"/x/y", b"/y/x"),
        ("b", r"[\0]", b"/abc", b"/a[b]c"),
        ("z", "y", b"/abc", b"/abc"),
        ("/$", "", b"/abc/?q", b"/abc?q"),
        ("(?i)ABC", "x", b"/abc", b"/x"),
    ],
)
def test_regexes(pattern: str, substitution: str, path: bytes, expected: bytes) -> None:
    assert rewrite.regex_rewrite(RegexRewrite(pattern, substitution))(path) == expected


PREFIX = RouteMatch(prefix="/a")


@pytest.mark.parametrize(
    "fields, scheme, authority, expected",
    [
        ({"https": True}, b"http", b"h", b"https://h/a/b?q=1"),
        ({"https": True}, b"http", b"h:80", b"https://h/a/b?q=1"),  # the old scheme's own port
        ({"https": True}, b"http", b"h:8080", b"https://h:8080/a/b?q=1"),
        ({"scheme": "http"}, b"https", b"h:443", b"http://h/a/b?q=1"),
        ({"scheme": "HTTP"}, b"http", b"h", b"HTTP://h/a/b?q=1"),
        ({"host": "n"}, b"http", b"h", b"http://n/a/b?q=1"),
        ({"host": "n"}, b"http", b"h:81", b"http://n/a/b?q=1"),
        ({"port": 81}, b"http", b"h:80", b"http://h:81/a/b?q=1"),
        ({"port": 81, "host": "n"}, b"http", b"h", b"http://n:81/a/b?q=1"),
        ({"host": "[::2]"}, b"http", b"[::1]:81", b"http://[::2]/a/b?q=1"),
        ({"https": True}, b"http", b"[::1]:80", b"https://[::1]/a/b?q=1"),
        ({"https": True}, b"http", b"[::1]", b"https://[::1]/a/b?q=1"),
        ({"path": "/n"}, b"http", b"h", b"http://h/n?q=1"),
        ({"path": "/n?x"}, b"http", b"h", b"http://h/n?x"),
        ({"path": "/n", "strip_query": True}, b"http", b"h", b"http://h/n"),
        ({"prefix_rewrite": "/n"}, b"http", b"h", b"http://h/n/b?q=1"),
        ({"prefix_rewrite": "/n", "strip_query": True}, b"http", b"h", b"http://h/n/b"),
        ({"regex_rewrite": RegexRewrite("/a/(.)", r"/\1")}, b"http", b"h", b"http://h/b?q=1"),
        ({"strip_query": True}, b"http", b"h", b"http://h/a/b"),
        ({}, b"http", b"h:81", b"http://h:81/a/b?q=1"),
    ],
)
def test_redirects(
    fields: dict[str, Any], scheme: bytes, authority: bytes, expected: bytes
) -> None:
    request = Request(b"GET", b"/a/b?q=1", authority, Headers(), scheme=scheme)
    action = RedirectAction(**fields)
    change = redirect.redirect_rewrite(action, PREFIX)
    if change is not None:
        request.path = change(request.path)
    assert redirect.redirect_target(action)(request) == expected


@pytest.mark.parametrize(
    "authority, expected",
    [
        (b"a", (b"a", b"")),
        (b"a:80", (b"a", b":80")),
        (b"[::1]", (b"[::1]", b"")),
        (b"[::1]:80", (b"[::1]", b":80")),
        (b"", (b"", b"")),
    ],
)
def test_split_port(authority: bytes, expected: tuple[bytes, bytes]) -> None:
    assert redirect.split_port(authority) == expected
