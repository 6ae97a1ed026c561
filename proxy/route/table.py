"""Finds the route of a request: virtual host by its host, then what that host makes of it.

Pure and built once per configuration. What a route leads to is opaque here (`target`): `compile`
decides. Domain precedence is Envoy's: exact, longest suffix wildcard (`*.x`), longest prefix
wildcard (`x.*`), `*`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from proxy.http.message import Request
from proxy.route.matching import Seen

MAX_SEEN = 1024
MAX_SEEN_BYTES = 320  # a DNS name has at most 253 (RFC 1035 section 2.3.4); longer is not kept

Target = TypeVar("Target")
Find = Callable[[Request, Seen], Target | None]
"""The target of a request's route; None if no route takes it."""


class Table(Generic[Target]):
    """`find(request, stream)` gives the target of its route, or None: no virtual host or no route.

    ignore_port: of the host that is looked up. host_header: whose value stands for the host
    (`vhost_header`); a request without it has no virtual host. internal_only: headers that are
    taken from requests from outside."""

    __slots__ = (
        "_any", "_exact", "_host_header", "_ignore_port", "_prefixes", "_seen", "_suffixes",
        "internal_only",
    )  # fmt: skip

    def __init__(
        self,
        ignore_port: bool = False,
        host_header: bytes = b"",
        internal_only: tuple[bytes, ...] = (),
    ) -> None:
        self.internal_only = internal_only
        self._exact: dict[bytes, Find[Target]] = {}
        self._suffixes = _Wildcards[Target](at_end=True)
        self._prefixes = _Wildcards[Target](at_end=False)
        self._any: Find[Target] = _nothing
        self._seen: dict[bytes, Find[Target]] = {}  # hosts as clients spelled them
        self._ignore_port = ignore_port
        self._host_header = host_header

    def add(self, domains: Iterable[str], find: Find[Target]) -> None:
        """A virtual host, also of a table in use: its domains mean nothing else from now on."""
        self._forget(domains)
        for domain in domains:
            name = domain.lower().encode()
            if name == b"*":
                self._any = find
            elif name.startswith(b"*"):
                self._suffixes.add(name[1:], find)
            elif name.endswith(b"*"):
                self._prefixes.add(name[:-1], find)
            else:
                self._exact[name] = find

    def _forget(self, domains: Iterable[str]) -> None:
        """What hosts were found to be that may be these."""
        if any("*" in domain for domain in domains):
            self._seen.clear()
            return
        names = {domain.lower().encode() for domain in domains}
        for host in [host for host in self._seen if self._name_of(host) in names]:
            del self._seen[host]

    def lately(self) -> list[bytes]:
        """Hosts that requests have named, as clients spelled them."""
        return list(self._seen)

    def find(self, request: Request, stream: Seen) -> Target | None:
        host = request.authority
        if self._host_header:
            named = request.headers.get(self._host_header)
            if named is None:
                return None
            host = named
        find = self._seen.get(host)
        if find is None:
            find = self._by_name(self._name_of(host))
            if len(host) <= MAX_SEEN_BYTES:
                if len(self._seen) >= MAX_SEEN:
                    self._seen.clear()
                self._seen[host] = find
        return find(request, stream)

    def _name_of(self, host: bytes) -> bytes:
        host = host.lower()
        if self._ignore_port:
            colon = host.rfind(b":")
            if colon > host.rfind(b"]"):
                return host[:colon]
        return host

    def _by_name(self, host: bytes) -> Find[Target]:
        return (
            self._exact.get(host)
            or self._suffixes.longest(host)
            or self._prefixes.longest(host)
            or self._any
        )


class _Wildcards(Generic[Target]):
    """Domains with a `*` at one end, by the length of the rest."""

    def __init__(self, at_end: bool) -> None:
        self._at_end = at_end
        self._by_length: dict[int, dict[bytes, Find[Target]]] = {}

    def add(self, fixed: bytes, find: Find[Target]) -> None:
        self._by_length.setdefault(len(fixed), {})[fixed] = find
        self._by_length = dict(sorted(self._by_length.items(), reverse=True))

    def longest(self, host: bytes) -> Find[Target] | None:
        """`*` stands for one character at least."""
        for length, known in self._by_length.items():
            if length < len(host):
                part = host[len(host) - length :] if self._at_end else host[:length]
                if (find := known.get(part)) is not None:
                    return find
        return None


def _nothing(_: Request, __: Seen) -> None:
    return None
