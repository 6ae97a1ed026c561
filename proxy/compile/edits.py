"""Header mutations of routes, virtual hosts and route configurations, as one function each way.

Envoy's order: the most specific level first (so that the least specific one has the last word),
unless `most_specific_header_mutations_wins`; within a level removals come before additions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.config.model import HeaderEdits, HeaderValueOption
from proxy.http.headers import Headers
from proxy.http.message import CHUNKED
from proxy.l7.format import compile_header_value
from proxy.l7.stream import Stream

CONTENT_LENGTH = b"content-length"

Edit = Callable[[Stream, Headers], None]


def request_edit(levels: Sequence[HeaderEdits]) -> Edit | None:
    """levels: in the order in which they are to be applied. None: nothing to do."""
    return _together([e for level in levels for e in _level(
        level.request_remove, level.request_add, _unsize_request)])  # fmt: skip


def response_edit(levels: Sequence[HeaderEdits]) -> Edit | None:
    return _together([e for level in levels for e in _level(
        level.response_remove, level.response_add, _unsize_response)])  # fmt: skip


def _together(edits: list[Edit]) -> Edit | None:
    if len(edits) < 2:
        return edits[0] if edits else None

    def apply(stream: Stream, headers: Headers) -> None:
        for edit in edits:
            edit(stream, headers)

    return apply


def _level(removes: Sequence[str], adds: Sequence[HeaderValueOption], unsize: Edit) -> list[Edit]:
    return [_remove(name, unsize) for name in removes] + [_add(option) for option in adds]


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
    if response is None or not headers.remove(CONTENT_LENGTH):
        return
    if stream.request.method != b"HEAD" and response.status not in (204, 304):
        response.length = CHUNKED


def _add(option: HeaderValueOption) -> Edit:
    name = option.name.lower().encode()
    value_of = compile_header_value(option.value)
    keeps_empty = option.keep_empty_value
    action = option.action

    def apply(stream: Stream, headers: Headers) -> None:
        value = value_of(stream)
        if not value and not keeps_empty:
            return
        present = name in headers
        if action == "APPEND_IF_EXISTS_OR_ADD":
            headers.add(name, value)
        elif action == "ADD_IF_ABSENT":
            if not present:
                headers.add(name, value)
        elif action == "OVERWRITE_IF_EXISTS_OR_ADD" or present:
            headers.set(name, value)

    return apply
