"""The bytes of a watch -> events: one JSON object per line, cut anywhere. Sans-io."""

from __future__ import annotations

import json
from collections.abc import Iterator

from controlplane.sources.kubernetes.answers import Broken, Event

MAX_LINE_BYTES = 16 * 1024 * 1024
"""etcd takes 1.5 MiB by default."""


class Lines:
    """`feed` chunks, then `end`. Raises Broken for what is no event."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise Broken(f"an event of more than {MAX_LINE_BYTES} bytes")
        for line in lines:
            if line.strip():
                yield _event(line)

    def end(self) -> None:
        """The server has ended the stream."""
        if self._rest.strip():
            raise Broken("the watch ended within an event")


def _event(line: bytes) -> Event:
    try:
        said = json.loads(line)
        kind, document = said["type"], said["object"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Broken(_what(line)) from None
    if not isinstance(kind, str) or not isinstance(document, dict):
        raise Broken(_what(line))
    return Event(kind, document)


def _what(line: bytes) -> str:
    """Without any of it: it may be of a Secret."""
    return f"no event of a watch: {len(line)} bytes of something else"
