"""Where a request carries JSON Web Tokens: headers, query parameters, cookies; and takes them out.

A place belongs to the issuers whose providers look there; a token of another issuer that stands in
it is not accepted. Knows nothing of what is in a token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from proxy.config.model.jwt import JwtProvider
from proxy.http.message import Request

AUTHORIZATION = ("authorization", "Bearer ")
ACCESS_TOKEN = "access_token"
_BEGIN = re.compile(rb"[A-Za-z0-9_.-]")
_COOKIE = b"cookie"
Issuers = frozenset[str] | None
"""None: any."""


@dataclass(frozen=True, slots=True)
class Token:
    """remove: takes it out of the request."""

    text: str
    issuers: Issuers
    remove: Callable[[Request], None]

    def may_be_of(self, issuer: str) -> bool:
        return self.issuers is None or issuer in self.issuers


class Places:
    """Of one provider or several. cleans: headers that only we may write, for what is behind us."""

    def __init__(self, providers: Iterable[JwtProvider]) -> None:
        headers: dict[tuple[str, str], set[str]] = {}
        params: dict[str, set[str]] = {}
        cookies: dict[str, set[str]] = {}
        cleans: list[bytes] = []
        for one in providers:
            named = one.from_headers or one.from_params or one.from_cookies
            for header in one.from_headers if named else (AUTHORIZATION,):
                headers.setdefault(header, set()).add(one.issuer)
            for param in one.from_params if named else (ACCESS_TOKEN,):
                params.setdefault(param, set()).add(one.issuer)
            for cookie in one.from_cookies:
                cookies.setdefault(cookie, set()).add(one.issuer)
            cleans += written_headers(one)
        self._headers = [
            (name.encode(), prefix.encode(), _issuers(headers[name, prefix]))
            for name, prefix in sorted(headers)
        ]
        self._params = [(name.encode(), _issuers(params[name])) for name in sorted(params)]
        self._cookies = {name.encode(): _issuers(cookies[name]) for name in sorted(cookies)}
        self._cleans = tuple(cleans)

    def clean(self, request: Request) -> None:
        for name in self._cleans:
            request.headers.remove(name)

    def find(self, request: Request) -> list[Token]:
        """At most one for each place."""
        found = self._in_headers(request)
        if self._params and b"?" in request.path:
            found += self._in_query(request)
        if self._cookies:
            found += self._in_cookies(request)
        return found

    def _in_headers(self, request: Request) -> list[Token]:
        found: list[Token] = []
        for name, prefix, issuers in self._headers:
            value = request.headers.joined(name)
            if value is None:
                continue
            if prefix:
                at = value.find(prefix)
                if at < 0:
                    continue
                value = _token_in(value, at + len(prefix))
            found.append(Token(value.decode("latin-1"), issuers, _header_remover(name)))
        return found

    def _in_query(self, request: Request) -> list[Token]:
        found: list[Token] = []
        for name, issuers in self._params:
            value = parameter(request.path, name)
            if value is not None:
                found.append(Token(value.decode("latin-1"), issuers, _param_remover(name)))
        return found

    def _in_cookies(self, request: Request) -> list[Token]:
        found: list[Token] = []
        known: set[bytes] = set()
        for header in request.headers.all(_COOKIE):
            for pair in header.split(b";"):
                name, equals, value = pair.strip().partition(b"=")
                if equals and name in self._cookies and name not in known:
                    known.add(name)
                    text = value.strip().strip(b'"').decode("latin-1")
                    found.append(Token(text, self._cookies[name], _stays))
        return found


def written_headers(provider: JwtProvider) -> tuple[bytes, ...]:
    """What it tells of a good token. A client's own words there would be taken for its."""
    names = [name.encode() for _, name in provider.claim_to_headers]
    if provider.forward_payload_header:
        names.append(provider.forward_payload_header.encode())
    return tuple(names)


def _issuers(found: set[str]) -> Issuers:
    """A provider without an issuer takes tokens of all."""
    return None if "" in found else frozenset(found)


def _token_in(value: bytes, start: int) -> bytes:
    """All that follows the first character that a token may have (Envoy)."""
    found = _BEGIN.search(value, start)
    return value if found is None else value[found.start() :]


def _header_remover(name: bytes) -> Callable[[Request], None]:
    def remove(request: Request) -> None:
        request.headers.remove(name)

    return remove


def _param_remover(name: bytes) -> Callable[[Request], None]:
    def remove(request: Request) -> None:
        request.path = without_parameter(request.path, name)

    return remove


def _stays(request: Request) -> None:
    """A cookie is not taken out (Envoy)."""


def parameter(path: bytes, name: bytes) -> bytes | None:
    """The first value of a query parameter, decoded; a `+` is a plus sign (Envoy)."""
    for pair in _query(path).split(b"&"):
        key, _, value = pair.partition(b"=")
        if unquote_to_bytes(key) == name:
            return unquote_to_bytes(value)
    return None


def without_parameter(path: bytes, name: bytes) -> bytes:
    """`path` without the parameter. The others stay as they are spelled: Envoy writes them anew
    without their escapes, so that a `%26` in a value would begin another parameter."""
    pairs = _query(path).split(b"&")
    kept = b"&".join([one for one in pairs if unquote_to_bytes(one.partition(b"=")[0]) != name])
    bare = path.partition(b"?")[0]
    return bare + b"?" + kept if kept else bare


def _query(path: bytes) -> bytes:
    return path.partition(b"?")[2].partition(b"#")[0]
