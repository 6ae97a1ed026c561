"""Header mutations of filters as functions: add, remove, remove what matches, by Envoy's rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proxy import match
from proxy.config.filters.decode_header_mutation import HeaderMutation
from proxy.config.model import HeaderValueOption, StringMatcher
from proxy.filters.api import FilterStream
from proxy.http.headers import Headers
from proxy.http.message import CHUNKED, Request, Response

Format = Callable[[str], Callable[[Any], bytes]]
Message = Request | Response | None
Mutate = Callable[[FilterStream, Headers, Message], None]
"""The stream for its values, the block to change, and the message that it is the head of (None: it
is a trailer block)."""

CONTENT_LENGTH = b"content-length"


def mutator(mutations: Sequence[HeaderMutation], formats: Format) -> Mutate | None:
    """All of them in order; None if there are none."""
    steps = [_mutation(each, formats) for each in mutations]
    if len(steps) < 2:
        return steps[0] if steps else None

    def apply(stream: FilterStream, headers: Headers, message: Message) -> None:
        for step in steps:
            step(stream, headers, message)

    return apply


def adder(options: Sequence[HeaderValueOption], formats: Format) -> Mutate | None:
    return mutator([HeaderMutation(append=option) for option in options], formats)


def _mutation(mutation: HeaderMutation, formats: Format) -> Mutate:
    if mutation.append is not None:
        return _append(mutation.append, formats)
    if mutation.remove_matching is not None:
        return _remove_matching(mutation.remove_matching)
    name = mutation.remove.encode()

    def remove(_: FilterStream, headers: Headers, message: Message) -> None:
        if headers.remove(name) and name == CONTENT_LENGTH:
            _unsize(message)

    return remove


def _remove_matching(matcher: StringMatcher) -> Mutate:
    test = match.string(matcher)

    def remove(_: FilterStream, headers: Headers, message: Message) -> None:
        for name in {name for name in headers.shape.names if test(name)}:
            headers.remove(name)
            if name == CONTENT_LENGTH:
                _unsize(message)

    return remove


def _unsize(message: Message) -> None:
    """A body without its length would be read as the next message: it goes in chunks."""
    if message is not None and message.length > 0:
        message.length = CHUNKED


def _append(option: HeaderValueOption, formats: Format) -> Mutate:
    name = option.name.lower().encode()
    value_of, keeps_empty, action = formats(option.value), option.keep_empty_value, option.action

    def append(stream: FilterStream, headers: Headers, _: Message) -> None:
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

    return append
