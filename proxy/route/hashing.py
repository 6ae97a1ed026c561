"""The hash that binds requests to hosts (`RouteAction.hash_policy`), for balancers that hash.

xxHash64 with seed 0, as in Envoy, so that a ring gives both the same host. Rules are mixed in
order; a terminal one ends the search as soon as there is a hash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from xxhash import xxh64_intdigest as xxh64

from proxy import match
from proxy.config.model import HashPolicy
from proxy.connection import ConnectionInfo
from proxy.http.cookies import cookie_tail, cookie_value
from proxy.http.message import Request
from proxy.route.substitute import substitute

_MASK = 0xFFFF_FFFF_FFFF_FFFF


class Hashed(Protocol):
    """What a hash is made of. remote: the client's address as far as it is trusted."""

    request: Request

    @property
    def info(self) -> ConnectionInfo: ...
    @property
    def remote(self) -> tuple[str, int]: ...
    @property
    def filter_state(self) -> Mapping[str, Any]: ...

    def set_cookie(self, cookie: bytes) -> None:
        """Adds a `set-cookie` of this value to the upstream's answer."""


Hash = Callable[[Hashed], int | None]


def request_hash(policies: Sequence[HashPolicy]) -> Hash | None:
    rules = [(_rule(policy), policy.terminal) for policy in policies]
    if not rules:
        return None

    def combined(stream: Hashed) -> int | None:
        found: int | None = None
        for rule, terminal in rules:
            new = rule(stream)
            if new is not None:  # rotated, so that the same rule twice does not cancel itself out
                old = 0 if found is None else (found << 1 | found >> 63) & _MASK
                found = old ^ new
            if terminal and found is not None:
                break
        return found

    return combined


def _rule(policy: HashPolicy) -> Hash:
    if policy.kind == "header":
        return _header(policy)
    if policy.kind == "cookie":
        return _cookie(policy)
    if policy.kind == "query_parameter":
        name = policy.name.encode()
        return lambda stream: _of(match.query_value(stream.request.path, name))
    if policy.kind == "source_ip":
        return lambda stream: _of(stream.remote[0].encode() or None)
    key = policy.name
    return lambda stream: (
        None if (v := stream.filter_state.get(key)) is None else _of(str(v).encode())
    )


def _of(value: bytes | None) -> int | None:
    return None if value is None else xxh64(value)


def _header(policy: HashPolicy) -> Hash:
    """All values, in whatever order they come."""
    values_of = match.request_values(policy.name.encode())
    change = substitute(policy.regex_rewrite) if policy.regex_rewrite is not None else None

    def rule(stream: Hashed) -> int | None:
        values = values_of(stream.request)
        if not values:
            return None
        if change is not None:
            values = [change(value) for value in values]
        found = 0
        for value in sorted(values):
            found = xxh64(value, found)
        return found

    return rule


def _cookie(policy: HashPolicy) -> Hash:
    name = policy.name.encode()
    tail = cookie_tail(policy.ttl_s or 0, policy.path, policy.attributes)

    def rule(stream: Hashed) -> int | None:
        value = cookie_value(stream.request.headers, name)
        if value:
            return xxh64(value)
        if policy.ttl_s is None:
            return None
        info = stream.info
        # The same for all streams of a connection, which may race (Envoy).
        ends = f"{_text(info.remote)}{_text(info.local)}"
        value = b"%016x" % xxh64(ends.encode())
        stream.set_cookie(b'%b="%b"%b' % (name, value, tail))
        return xxh64(value)

    return rule


def _text(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
