"""What a handler gets and gives: plain values, no connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TEXT = "text/plain; charset=UTF-8"
JSON = "application/json"
HTML = "text/html; charset=UTF-8"

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
    """In Envoy's layout: one space per level."""
    return Reply(json.dumps(value, indent=1, default=_plain) + "\n", content_type=JSON)


def bad_request(message: str) -> Reply:
    return Reply(message + "\n", 400)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value)
