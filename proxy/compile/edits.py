"""Header mutations of routes, virtual hosts and route configurations, as one function each way.

Envoy's order: the most specific level first (so that the least specific one has the last word),
unless `most_specific_header_mutations_wins`; within a level removals, then what overwrites, then
what is appended, and every value is made of the headers as they were before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from proxy.config.model import HeaderEdits, HeaderValueOption
from proxy.http.headers import Headers
from proxy.http.message import CHUNKED
from proxy.l7.format import compile_header_value
from proxy.l7.stream import Stream

CONTENT_LENGTH = b"content-length"

Edit = Callable[[Stream, Headers], None]
Value = Callable[[Stream], bytes]

# Headers that Envoy keeps as one value (its inline headers): what is appended is joined by a comma.
REQUEST_LISTS = frozenset(
    (b"accept accept-encoding access-control-request-headers access-control-request-method "
     b"access-control-request-private-network authorization cache-control cdn-loop "
     b"content-encoding content-type grpc-accept-encoding grpc-timeout if-match if-modified-since "
     b"if-none-match if-range if-unmodified-since origin pragma proxy-connection proxy-status "
     b"referer te user-agent via x-client-trace-id x-forwarded-client-cert x-forwarded-for "
     b"x-forwarded-host x-forwarded-port x-forwarded-proto x-request-id x-envoy-attempt-count "
     b"x-envoy-decorator-operation x-envoy-downstream-service-cluster "
     b"x-envoy-downstream-service-node x-envoy-expected-rq-timeout-ms x-envoy-external-address "
     b"x-envoy-force-trace x-envoy-hedge-on-per-try-timeout x-envoy-internal x-envoy-ip-tags "
     b"x-envoy-is-timeout-retry x-envoy-max-retries x-envoy-original-host x-envoy-original-path "
     b"x-envoy-original-url x-envoy-retriable-header-names x-envoy-retriable-status-codes "
     b"x-envoy-retry-grpc-on x-envoy-retry-on x-envoy-upstream-alt-stat-name "
     b"x-envoy-upstream-rq-per-try-timeout-ms x-envoy-upstream-rq-timeout-alt-response "
     b"x-envoy-upstream-rq-timeout-ms x-envoy-upstream-stream-duration-ms").split()
)  # fmt: skip
RESPONSE_LISTS = frozenset(
    (b"access-control-allow-credentials access-control-allow-headers access-control-allow-methods "
     b"access-control-allow-origin access-control-allow-private-network "
     b"access-control-expose-headers access-control-max-age age cache-control content-encoding "
     b"content-type date etag expires grpc-message grpc-status last-modified location "
     b"proxy-status server vary via x-envoy-attempt-count x-envoy-decorator-operation "
     b"x-envoy-degraded x-envoy-immediate-health-check-fail x-envoy-ratelimited "
     b"x-envoy-upstream-canary x-envoy-upstream-healthchecked-cluster "
     b"x-envoy-upstream-service-time x-request-id").split()
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Way:
    """What sets requests and responses apart."""

    lists: frozenset[bytes]
    unsize: Edit


def request_edit(levels: Sequence[HeaderEdits]) -> Edit | None:
    """levels: in the order in which they are to be applied. None: nothing to do."""
    way = _Way(REQUEST_LISTS, _unsize_request)
    return _together([_level(way, one.request_remove, one.request_add) for one in levels])


def response_edit(levels: Sequence[HeaderEdits]) -> Edit | None:
    way = _Way(RESPONSE_LISTS, _unsize_response)
    return _together([_level(way, one.response_remove, one.response_add) for one in levels])


def edit_by_steps(steps: Sequence[HeaderValueOption | str]) -> Edit | None:
    """A request edited in this order: an option is added, a name removed (`HeaderMutation`)."""
    way = _Way(REQUEST_LISTS, _unsize_request)
    return _together(
        [_level(way, (s,), ()) if isinstance(s, str) else _level(way, (), (s,)) for s in steps]
    )


def _together(found: Sequence[Edit | None]) -> Edit | None:
    edits = [edit for edit in found if edit is not None]
    if len(edits) < 2:
        return edits[0] if edits else None

    def apply(stream: Stream, headers: Headers) -> None:
        for edit in edits:
            edit(stream, headers)

    return apply


def _level(way: _Way, removes: Sequence[str], adds: Sequence[HeaderValueOption]) -> Edit | None:
    edits: list[Edit | None] = [_remove(name, way.unsize) for name in removes]
    return _together([*edits, _add_all(way, tuple(adds))])


def _remove(name: str, unsize: Edit) -> Edit:
    wanted = name.lower().encode()
    if wanted == CONTENT_LENGTH:
        return unsize

    def apply(_: Stream, headers: Headers) -> None:
        headers.remove(wanted)

    return apply


def _unsize_request(stream: Stream, headers: Headers) -> None:
    """A body without its length would be read as the next request: it goes in chunks (Envoy)."""
    if headers.remove(CONTENT_LENGTH) and stream.request.length > 0:
        stream.request.length = CHUNKED


def _unsize_response(stream: Stream, headers: Headers) -> None:
    response = stream.response
    if headers.remove(CONTENT_LENGTH) and response is not None and response.length > 0:
        response.length = CHUNKED


@lru_cache(4096)  # thousands of routes say the same
def _value(text: str) -> Value:
    return compile_header_value(text)


def _add_all(way: _Way, options: tuple[HeaderValueOption, ...]) -> Edit | None:
    if not options:
        return None
    rules = tuple(
        [(o.name.lower().encode(), _value(o.value), o.action, o.keep_empty_value) for o in options]
    )
    if len(rules) == 1:
        return _add_one(way, *rules[0])
    lists = way.lists

    def apply(stream: Stream, headers: Headers) -> None:
        made = [(rule, rule[1](stream)) for rule in rules]
        wanted = [
            (name, value, action)
            for (name, _, action, keeps_empty), value in made
            if (value or keeps_empty) and _applies(action, name, headers)
        ]
        for name, value, action in wanted:
            if action.startswith("OVERWRITE"):
                headers.set(name, value)
        for name, value, action in wanted:
            if not action.startswith("OVERWRITE"):
                append(headers, name, value, name in lists)

    return apply


def _applies(action: str, name: bytes, headers: Headers) -> bool:
    if action == "ADD_IF_ABSENT":
        return name not in headers
    return action != "OVERWRITE_IF_EXISTS" or name in headers


def _add_one(way: _Way, name: bytes, value_of: Value, action: str, keeps_empty: bool) -> Edit:
    joins = name in way.lists
    overwrites = action.startswith("OVERWRITE")
    always = action in ("APPEND_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS_OR_ADD")

    def apply(stream: Stream, headers: Headers) -> None:
        value = value_of(stream)
        if not (value or keeps_empty) or not (always or _applies(action, name, headers)):
            return
        if overwrites:
            headers.set(name, value)
        else:
            append(headers, name, value, joins)

    return apply


def append(headers: Headers, name: bytes, value: bytes, joins: bool) -> None:
    known = headers.joined(name) if joins else None
    if known is None:
        headers.add(name, value)
    else:
        headers.set(name, b"%b,%b" % (known, value))
