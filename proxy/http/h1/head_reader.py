"""What the readers of requests and responses share: limits, and heads that come in pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from proxy.http.h1.body import BodyReader


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_request_headers_kb` and `max_headers_count`; pipelined: bytes kept of later requests.
    trailers: are they passed on (Envoy's `enable_trailers`), or dropped? chunked_length: Envoy's
    `allow_chunked_length`. keeps_expect: the peer behind answers it.
    custom_methods: any token is a method. underscores: what becomes of
    headers with `_` in their names; on_dropped is told how many were dropped."""

    head_bytes: int = 60 * 1024
    headers: int = 100
    pipelined_bytes: int = 64 * 1024
    http_10: bool = False
    default_host: bytes = b""
    trailers: bool = False
    chunked_length: bool = False
    keeps_expect: bool = False
    custom_methods: bool = False
    underscores: Literal["ALLOW", "REJECT_REQUEST", "DROP_HEADER"] = "ALLOW"
    on_dropped: Callable[[int], None] | None = None


class HeadReader(BodyReader):
    """What both readers do with a head that comes in pieces."""

    __slots__ = ()

    def _gathered(self, data: bytes) -> bytes:
        """All of the head so far once its end is here, b'' before. Looks at the new tail only."""
        data, seen = self._buffer + data, len(self._buffer)
        if data.find(b"\r\n\r\n", max(0, seen - 3)) < 0:
            self._partial(data, seen)
            return b""
        self._buffer = b""
        return data

    def _partial(self, data: bytes, seen: int) -> None:
        raise NotImplementedError
