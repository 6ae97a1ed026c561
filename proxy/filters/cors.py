"""`envoy.filters.http.cors`: preflights are answered here, other answers get their CORS headers.

The policies stand at the route, the virtual host and the route configuration; each field is taken
from the most specific one that sets it, but whether CORS is on at all from the first alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proxy import match
from proxy.config.filters.decode_cors import TYPE_URL, CorsConfig, CorsPolicy
from proxy.filters.api import Filter, FilterContext, FilterStream, Hooks, Reply
from proxy.filters.shares import Draw, draw
from proxy.http.headers import Edit
from proxy.http.message import Request, Response

ORIGIN = b"origin"
REQUEST_METHOD = b"access-control-request-method"
REQUEST_HEADERS = b"access-control-request-headers"
REQUEST_PRIVATE = b"access-control-request-private-network"
ALLOW_ORIGIN = b"access-control-allow-origin"
ALLOW_CREDENTIALS = b"access-control-allow-credentials"
EXPOSE_HEADERS = b"access-control-expose-headers"
ALLOW_PRIVATE = b"access-control-allow-private-network"
STATE = "envoy.filters.http.cors"

__all__ = ["TYPE_URL", "build"]


def build(config: CorsConfig, context: FilterContext) -> Filter:
    return Cors(context)


@dataclass(frozen=True, slots=True)
class Policy:
    """The policies of all levels as one."""

    allows: Callable[[bytes], bool]
    methods: bytes
    headers: bytes
    expose: bytes
    max_age: bytes
    credentials: bool
    private_network: bool
    forward_not_matching: bool


class Cors:
    def __init__(self, context: FilterContext) -> None:
        self._context = context
        prefix = f"{context.stat_prefix}cors."
        self._valid = context.stats.counter(f"{prefix}origin_valid")
        self._invalid = context.stats.counter(f"{prefix}origin_invalid")

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        levels = [each for each in overrides if isinstance(each, CorsPolicy)]
        if not levels:
            return None
        enabled = draw(levels[0].enabled, self._context, default=True)
        shadow = draw(levels[0].shadow_enabled, self._context)
        return self._hooks(_together(levels), enabled, shadow)

    def _hooks(self, policy: Policy, enabled: Draw, shadow: Draw) -> Hooks:
        told = [(ALLOW_CREDENTIALS, b"true")] * policy.credentials
        told += [(EXPOSE_HEADERS, policy.expose)] * bool(policy.expose)
        edit = Edit(names=(ALLOW_ORIGIN, *(name for name, _ in told)))
        fixed = tuple([value for _, value in told])

        def on_request(stream: FilterStream) -> Reply | None:
            origin = stream.request.headers.get(ORIGIN)
            if not origin or stream.route is None or not stream.route.forwards:
                return None
            on = enabled()
            if not on and not shadow():
                return None
            allowed = policy.allows(origin)
            (self._valid if allowed else self._invalid).value += 1
            if not on:
                return None
            if allowed:
                stream.filter_state[STATE] = origin
            if stream.request.method != b"OPTIONS":
                return None
            return _preflight(stream.request, origin, allowed, policy)

        def on_response(stream: FilterStream, response: Response) -> None:
            origin = stream.filter_state.get(STATE)
            if origin is None:
                return
            edit.apply(response.headers, (origin, *fixed))

        return Hooks(on_request, on_response)


def _together(levels: list[CorsPolicy]) -> Policy:
    """Each field from the most specific policy that sets it."""
    origins = next((each.allow_origins for each in levels if each.allow_origins), ())
    tests = [match.string(each) for each in origins]
    text: Callable[[str], bytes] = lambda name: next(  # noqa: E731
        (value.encode() for each in levels if (value := getattr(each, name))), b""
    )
    flag: Callable[[str, bool], bool] = lambda name, default: next(  # noqa: E731
        (value for each in levels if (value := getattr(each, name)) is not None), default
    )
    return Policy(
        # A matcher that takes `*` takes every origin (Envoy's rule).
        _any_of(tests, any(test(b"*") for test in tests)),
        text("allow_methods"),
        text("allow_headers"),
        text("expose_headers"),
        text("max_age"),
        flag("allow_credentials", False),
        flag("allow_private_network", False),
        flag("forward_not_matching", True),
    )


def _any_of(tests: list[match.BytesMatch], always: bool) -> match.BytesMatch:
    def allows(origin: bytes) -> bool:
        for test in tests:
            if test(origin):
                return True
        return always

    return allows


def _preflight(request: Request, origin: bytes, allowed: bool, policy: Policy) -> Reply | None:
    """Fetch standard, section 3.2.2: OPTIONS with an origin and a method that is asked about."""
    asked = request.headers
    method = asked.get(REQUEST_METHOD)
    if not method or (not allowed and policy.forward_not_matching):
        return None
    pairs = []
    if allowed:
        pairs.append((ALLOW_ORIGIN, origin))
    if policy.credentials:
        pairs.append((ALLOW_CREDENTIALS, b"true"))
    if policy.methods:
        methods = method if policy.methods == b"*" else policy.methods
        pairs.append((b"access-control-allow-methods", methods))
    if policy.headers:
        wanted = asked.get(REQUEST_HEADERS) or b""
        headers = wanted if policy.headers == b"*" else policy.headers
        pairs.append((b"access-control-allow-headers", headers))
    if policy.max_age:
        pairs.append((b"access-control-max-age", policy.max_age))
    if policy.private_network and asked.get(REQUEST_PRIVATE) == b"true":
        pairs.append((ALLOW_PRIVATE, b"true"))
    return Reply(200, b"", "", "cors_response", tuple(pairs))
