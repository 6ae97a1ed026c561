"""Header mutations of routes, virtual hosts and route configurations, as one function each way.

Envoy's order: the most specific level first (so that the least specific one has the last word),
unless `most_specific_header_mutations_wins`; within a level removals come before additions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.config.model import HeaderEdits, HeaderValueOption
from proxy.http.headers import Headers
from proxy.l7.format import compile_header_value
from proxy.l7.stream import Stream

Edit = Callable[[Stream, Headers], None]


def request_edit(levels: Sequence[HeaderEdits]) -> Edit | None:
    """levels: in the order in which they are to be applied. None: nothing to do."""
    return _together([e for level in levels for e in _level(level.request_remove,
                                                            level.request_add)])  # fmt: skip


def response_edit(levels: Sequence[HeaderEdits]) -> Edit | None:
    return _together([e for level in levels for e in _level(level.response_remove,
                                                            level.response_add)])  # fmt: skip


def _together(edits: list[Edit]) -> Edit | None:
    if len(edits) < 2:
        return edits[0] if edits else None

    def apply(stream: Stream, headers: Headers) -> None:
        for edit in edits:
            edit(stream, headers)

    return apply


def _level(removes: Sequence[str], adds: Sequence[HeaderValueOption]) -> list[Edit]:
    return [_remove(name) for name in removes] + [_add(option) for option in adds]


def _remove(name: str) -> Edit:
    wanted = name.lower().encode()

    def apply(_: Stream, headers: Headers) -> None:
        headers.remove(wanted)

    return apply


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
