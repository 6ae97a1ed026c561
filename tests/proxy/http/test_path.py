"""Paths in their canonical form, as Envoy 1.40 writes them with `normalize_path`."""

from __future__ import annotations

import pytest

from proxy.http.path import canonical, merge_slashes, unescape_slashes


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (b"/a/../b", b"/b"),
        (b"/a/..;/b", b"/b"),
        (b"/a/..;x=1;y/b", b"/b"),
        (b"/a/.;x/b/..;", b"/a/"),
        (b"/..;/..;/b", b"/b"),
        (b"/a/..;\\b", b"/"),
        (b"/a/..;%2fb/c", b"/c"),
        (b"/a/%2e%2e;/b", b"/a/..;/b"),
        (b"/a;x/...;/x..;/b;..", b"/a;x/...;/x..;/b;.."),
        (b"/a?/..;/b", b"/a?/..;/b"),
        (b"/a|b^c?d|e", b"/a%7Cb%5Ec?d|e"),
    ],
)
def test_what_a_path_becomes(path: bytes, wanted: bytes) -> None:
    assert canonical(path) == wanted


def test_slashes_that_were_escaped_end_parameters() -> None:
    assert merge_slashes(canonical(unescape_slashes(b"/a%2f..;x%2f%2fb"))) == b"/b"
