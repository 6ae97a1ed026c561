"""A request of the proxy's own, on behalf of a filter, and what became of it.

Who asks knows no connection: it names a cluster and is told once. Knows no socket and no filter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from proxy.http.headers import Headers
from proxy.http.message import Request

MAX_ANSWER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often it is tried again, after what (Envoy's words of `retry_on`), and the back-off."""

    most: int = 0
    retry_on: frozenset[str] = frozenset()
    base_interval_s: float = 0.025
    max_interval_s: float = 0.25


NEVER = Repeats()


@dataclass(frozen=True, slots=True)
class Inquiry:
    """request: its length is that of `body`. timeout_s: for all attempts together, 0 is none.
    tells: in headers of Envoy's, that it is a proxy's own and how long it waits; forwards: and from
    which machine."""

    cluster: str
    request: Request
    body: bytes = b""
    timeout_s: float = 0.0
    repeats: Repeats = NEVER
    max_answer_bytes: int = MAX_ANSWER_BYTES
    tells: bool = True
    forwards: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """failure: why there is no answer ('' if there is one): `timeout`, else words for a person.
    status is then what a router would have answered instead."""

    status: int
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    trailers: Headers | None = None
    failure: str = ""


class Asking(Protocol):
    def cancel(self) -> None:
        """The answer is wanted no more; nothing is told."""


Told = Callable[[Outcome], None]
"""Called once, perhaps before `Ask` returns."""
Ask = Callable[[Inquiry, Told], Asking]
