"""The router's `strict_check_headers`: steering headers without a meaning are refused, not ignored.

Asked before the headers are read by `steering`; knows nothing of what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from proxy.config.model.retry import GRPC_RETRY_ON, HTTP_RETRY_ON
from proxy.filters.api import Reply
from proxy.l7 import steering

if TYPE_CHECKING:
    from proxy.l7.stream import Stream

Check = Callable[["Stream"], Reply | None]
_MAX_NUMBER = 2**32 - 1


def strict_check(names: Iterable[str]) -> Check | None:
    """What refuses a request for one of the headers `names`; None where there are none."""
    tests = [(name.encode(), _TESTS[name.encode()]) for name in names]
    if not tests:
        return None

    def check(stream: Stream) -> Reply | None:
        headers = stream.request.headers
        for name, is_good in tests:
            value = headers.get(name)
            if value is not None and not is_good(value):
                return _refusal(name, value)
        return None

    return check


def _refusal(name: bytes, value: bytes) -> Reply:
    body = b"invalid header '%b' with value '%b'" % (name, value)
    return Reply(400, body, "IH", f"request_headers_failed_strict_check{{{name.decode()}}}")


def _is_number(value: bytes) -> bool:
    return value.isdigit() and int(value) <= _MAX_NUMBER


def _is_listed(words: frozenset[str]) -> Callable[[bytes], bool]:
    def test(value: bytes) -> bool:
        given = [word.strip() for word in value.decode("latin-1").split(",")]
        return all(word in words for word in given if word)

    return test


_TESTS = {
    steering.TIMEOUT: _is_number,
    steering.PER_TRY_TIMEOUT: _is_number,
    steering.MAX_RETRIES: _is_number,
    steering.RETRY_ON: _is_listed(HTTP_RETRY_ON),
    steering.RETRY_GRPC_ON: _is_listed(GRPC_RETRY_ON),
}
