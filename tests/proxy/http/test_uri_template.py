"""Path templates: what they match, what is refused, and what a rewrite makes of them."""

from __future__ import annotations

import pytest
import re2

from proxy.http.uri_template import (
    TemplateError,
    check_rewrite,
    parse_rewrite,
    parse_template,
)


@pytest.mark.parametrize(
    "template, path, found",
    [
        ("/", "/", {}),
        ("/a/*", "/a/b", {}),
        ("/a/*", "/a/b/c", None),
        ("/a/*", "/a/", None),
        ("/a/**", "/a/b/c", {}),
        ("/a/**", "/a/", {}),
        ("/a/{x}", "/a/b", {"x": "b"}),
        ("/a/{x=**}", "/a/b/c", {"x": "b/c"}),
        ("/a/{x=b/*}/c", "/a/b/d/c", {"x": "b/d"}),
        ("/a/{x}.txt", "/a/b.txt", {"x": "b"}),
        ("/a.b+c$/{x}", "/a.b+c$/1", {"x": "1"}),
        ("/a.b/x", "/aXb/x", None),
        ("/a/b/", "/a/b/", {}),
        ("/a/b/", "/a/b", None),
        ("/{a}/{b}", "/1/2", {"a": "1", "b": "2"}),
    ],
)
def test_matches(template: str, path: str, found: dict[str, str] | None) -> None:
    parsed = parse_template(template)
    match = re2.compile(parsed.regex).fullmatch(path)
    assert (None if match is None else {name: match[name] for name in parsed.names}) == found


@pytest.mark.parametrize(
    "template",
    [
        "", "a", "/a b", "/\u00fc", "//a", "/a//b", "/{", "/{a", "/{1}", "/{a=}", "/{a}{b}",
        "/{a=*b}", "/{a=b/}", "/{a}/{a}", "/**/*", "/**/{a}", "/{a=**}/{b}", "/{a}x/b",
        "/a<b>", "/{aaaaaaaaaaaaaaaaa}", "/{a}/{b}/{c}/{d}/{e}/{f}", "/file/*.{ext}",
    ],
)  # fmt: skip
def test_what_envoy_refuses(template: str) -> None:
    with pytest.raises(TemplateError):
        parse_template(template)


def test_rewrites() -> None:
    assert parse_rewrite("/x/{a}-{b}") == (("/x/", False), ("a", True), ("-", False), ("b", True))
    check_rewrite("/{b}/{a}", parse_template("/{a}/{b}"))
    for wrong in ("/{", "/{a", "/{a b}", "/a b", "/{c}"):
        with pytest.raises(TemplateError):
            check_rewrite(wrong, parse_template("/{a}/{b}"))
