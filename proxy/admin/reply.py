"""What a handler gets and gives: plain values, no connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

TEXT = "text/plain; charset=UTF-8"
JSON = "application/json"
HTML = "text/html; charset=UTF-8"

PARTS_PER_PIECE = 1024  # names and values: about a millisecond of work

Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """body: a text, or pieces of one, made and sent one per turn of the loop so that requests are
    not held up. `after` is called once the answer has been written: for what ends the proxy."""

    body: str | Iterator[str]
    status: int = 200
    content_type: str = TEXT
    after: Callable[[], None] | None = None


def json_reply(value: object) -> Reply:
    """In Envoy's layout: one space per level. An iterator is an array whose elements are made when
    it is their turn to be sent."""
    return Reply(_grouped(_written(value, "\n")), content_type=JSON)


def _grouped(parts: Iterator[str]) -> Iterator[str]:
    held: list[str] = []
    for part in parts:
        held.append(part)
        if len(held) >= PARTS_PER_PIECE:
            yield "".join(held)
            held.clear()
    yield "".join(held) + "\n"


def _written(value: object, newline: str) -> Iterator[str]:
    """newline: with the indentation of where `value` stands."""
    if isinstance(value, Mapping):
        opening, closing = "{", "}"
        members = ((json.dumps(str(name)) + ": ", each) for name, each in value.items())
    elif isinstance(value, Iterable) and not isinstance(value, str):
        opening, closing = "[", "]"
        members = (("", each) for each in value)
    else:
        yield json.dumps(value)
        return
    inner = newline + " "
    yield opening
    some = False
    for name, each in members:
        yield f",{inner}{name}" if some else inner + name
        yield from _written(each, inner)
        some = True
    yield newline + closing if some else closing


def bad_request(message: str) -> Reply:
    return Reply(message + "\n", 400)
