"""Cookies as proxies read and set them (RFC 6265)."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.http.headers import Headers


def cookie_value(headers: Headers, name: bytes) -> bytes | None:
    """Of the first cookie called `name`; RFC 6265 section 4.2.1."""
    for header in headers.all(b"cookie"):
        for part in header.split(b";"):
            key, _, value = part.strip(b" ").partition(b"=")
            if key == name:
                return value[1:-1] if len(value) > 1 and value[:1] == value[-1:] == b'"' else value
    return None


def cookie_tail(ttl_s: int, path: str, attributes: Iterable[tuple[str, str]]) -> bytes:
    """What follows name and value in `set-cookie`; RFC 6265 section 4.1.1. A ttl of 0 is a cookie
    of the session, a path of '' the client's own choice."""
    parts = [f"; Max-Age={ttl_s}"] if ttl_s else []
    parts += [f"; Path={path}"] if path else []
    parts += [f"; {key}={value}" if value else f"; {key}" for key, value in attributes]
    return "".join([*parts, "; HttpOnly"]).encode()
