"""`envoy.filters.http.stateful_session`: a client's requests go to the host that it was told.

The client brings the host in a cookie or header; the router takes that one if it may
(`override_host_status` of the cluster), and the answer tells the client where another one served
it. How the host is written is `session_host`'s matter.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

from proxy.config.filters.decode_stateful_session import TYPE_URL
from proxy.config.model.stateful_session import (
    CookieState,
    EnvelopeState,
    HeaderState,
    SessionState,
    StatefulSession,
)
from proxy.filters.api import Filter, FilterContext, FilterStream, Hooks
from proxy.filters.session_host import cookie_of, decoded, host_in_cookie
from proxy.http.cookies import cookie_tail, cookie_value
from proxy.http.message import Request, Response

__all__ = ["TYPE_URL", "build"]
_ORIGINAL = b"UV:"
"""What the upstream's own value stands behind, in an envelope."""
_A_VALUE = re.compile(rb"[^\x00\r\n]+")
"""Of a header (RFC 9110 section 5.5); the client could write anything into the base64."""


@dataclass(frozen=True, slots=True)
class _Carrier:
    """Where the host stands. concerns: whether a request can have a session. asked: the host of a
    request, '' without. tell: the client shall come back to a host. always: with each answer, and
    no host counts as another one (Envoy)."""

    concerns: Callable[[Request], bool]
    asked: Callable[[Request], str]
    tell: Callable[[Response, str], None]
    always: bool = False


def build(config: StatefulSession, context: FilterContext) -> Filter:
    return StatefulSessions(config, context)


class StatefulSessions:
    def __init__(self, config: StatefulSession, context: FilterContext) -> None:
        self._config = config
        self._context = context

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        config = overrides[0] if overrides else self._config
        assert isinstance(config, StatefulSession)
        if config.state is None:
            return None
        key = f"{TYPE_URL}.{config.state.name}"  # another filter may have another session
        carrier, count = _carrier(config.state, self._context.unix_now), self._counter(config)

        def on_request(stream: FilterStream) -> None:
            if not carrier.concerns(stream.request):
                stream.filter_state.pop(key, None)  # of an earlier leg
                return
            asked = carrier.asked(stream.request)
            stream.filter_state[key] = asked
            if asked:
                stream.prefer_host(asked, config.strict)

        def on_response(stream: FilterStream, response: Response) -> None:
            host, asked = stream.host, stream.filter_state.get(key)
            if host is None:
                if config.strict and asked is not None and "UH" in stream.flags.split(","):
                    count("failed_closed")
            elif asked is None:
                count("no_session")
            else:
                changed = host.text != asked and not carrier.always
                if changed or carrier.always:
                    carrier.tell(response, host.text)
                if not changed or not config.strict:
                    count("failed_open" if changed else "routed")

        return Hooks(on_request, on_response)

    def _counter(self, config: StatefulSession) -> Callable[[str], None]:
        """By Envoy's names; all are there from the beginning."""
        if not config.stat_prefix:
            return lambda name: None
        prefix = f"{self._context.stat_prefix}stateful_session.{config.stat_prefix}."
        words = ("routed", "failed_open", "failed_closed", "no_session")
        counters = {word: self._context.stats.counter(prefix + word) for word in words}

        def count(name: str) -> None:
            counters[name].value += 1

        return count


def _carrier(state: SessionState, unix_now: Callable[[], float]) -> _Carrier:
    if isinstance(state, CookieState):
        return _cookie(state, unix_now)
    if isinstance(state, HeaderState):
        return _header(state)
    return _envelope(state)


def _cookie(state: CookieState, unix_now: Callable[[], float]) -> _Carrier:
    name, tail = state.name.encode(), cookie_tail(state.ttl_s, state.path, state.attributes)

    def asked(request: Request) -> str:
        value = cookie_value(request.headers, name)
        return host_in_cookie(value, unix_now()) if value else ""

    def tell(response: Response, host: str) -> None:
        value = cookie_of(host, int(unix_now()) + state.ttl_s if state.ttl_s else 0)
        response.headers.add(b"set-cookie", b'%b="%b"%b' % (name, value, tail))

    return _Carrier(_below(state.path.encode()), asked, tell)


def _below(path: bytes) -> Callable[[Request], bool]:
    """RFC 6265 section 5.1.4, of the whole target."""
    if path in (b"", b"/"):
        return lambda request: True
    if path.endswith(b"/"):
        return lambda request: request.path.startswith(path)
    size = len(path)
    return lambda request: (
        request.path.startswith(path) and request.path[size : size + 1] in (b"", b"/", b"?", b"#")
    )


def _header(state: HeaderState) -> _Carrier:
    name = state.name.lower().encode()

    def asked(request: Request) -> str:
        return decoded(request.headers.get(name) or b"").decode("latin-1")

    def tell(response: Response, host: str) -> None:
        response.headers.set(name, b64encode(host.encode()))

    return _Carrier(lambda request: True, asked, tell)


def _envelope(state: EnvelopeState) -> _Carrier:
    """`BASE64-OF-HOST;UV:BASE64-OF-THE-VALUE`; the upstream sees its own value only."""
    name = state.name.lower().encode()

    def asked(request: Request) -> str:
        parts = [part for part in (request.headers.get(name) or b"").split(b";") if part]
        own = next((part for part in parts[1:] if part.startswith(_ORIGINAL)), b"")
        value = decoded(own.removeprefix(_ORIGINAL))
        if not _A_VALUE.fullmatch(value):
            return ""
        request.headers.set(name, value)
        return decoded(parts[0]).decode("latin-1")

    def tell(response: Response, host: str) -> None:
        values = response.headers.all(name)
        if len(values) == 1:
            words = (b64encode(host.encode()), _ORIGINAL, b64encode(values[0]))
            response.headers.set(name, b"%b;%b%b" % words)

    return _Carrier(lambda request: True, asked, tell, always=True)
