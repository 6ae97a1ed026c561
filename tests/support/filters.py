"""A stream and a context for filters, without a proxy: what a filter may see, and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any

from proxy.connection import ConnectionInfo
from proxy.denials import Denials
from proxy.filters.api import Answer, FilterContext, Reply
from proxy.http.headers import Headers
from proxy.http.inquiry import Outcome
from proxy.http.message import Request, Response
from proxy.route.matching import route_matches
from proxy.runtime import RuntimeValues
from proxy.stats import Stats


def request(path: str = "/", method: str = "GET", **headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(method.encode(), path.encode(), b"a.test", Headers.of(pairs))


def info(**fields: Any) -> ConnectionInfo:
    address = ("10.0.0.2", 8080)
    return ConnectionInfo(("192.0.2.1", 5000), address, address, **fields)


@dataclass
class FakeStream:
    """Notes what a filter does with it: `resumed`, `replies`, `throttled`, `preferred`."""

    request: Request = field(default_factory=request)
    info: ConnectionInfo = field(default_factory=info)
    remote: tuple[str, int] = ("203.0.113.9", 0)
    route: Any = field(
        default_factory=lambda: SimpleNamespace(
            name="r", virtual_host="v", metadata={}, cluster_name="a", forwards=True
        )
    )
    response: Response | None = None
    request_done: bool = True
    started: float = 0.0
    status: int = 0
    flags: str = ""
    detail: str = ""
    body_received: int = 0
    bytes_sent: int = 0
    buffer_limit_bytes: int = 0
    health_check: bool = False
    host: Any = None
    sent_at: float = 0.0
    tried_at: float = 0.0
    answered_at: float = 0.0
    ended: float = 0.0
    response_trailers: Any = None
    cluster: Any = None
    upstream_tls: Any = None
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    filter_state: dict[str, Any] = field(default_factory=dict)
    resumed: list[Answer] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    throttled: int = 0
    preferred: tuple[str, bool] | None = None
    restarts: int = 0

    def resume(self, answer: Answer = None) -> None:
        self.resumed.append(answer)

    def respond(self, reply: Reply) -> None:
        self.replies.append(reply)

    def flag(self, flag: str, detail: str) -> None:
        self.flags = f"{self.flags},{flag}" if self.flags else flag

    def prefer_host(self, address: str, strict: bool) -> None:
        self.preferred = (address, strict)

    def throttle(self, bytes_per_s: int) -> None:
        self.throttled = bytes_per_s

    def reroute(self) -> None:
        raise AssertionError("no filter here asks for another route")

    def restart(self) -> None:
        self.restarts += 1


class Clock:
    """Time that a test moves: `later` holds what is to be done when."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.later: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds: float, what: Callable[[], None]) -> object:
        self.later.append((self.now + seconds, what))
        return None

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [what for at, what in self.later if at <= self.now]
        self.later = [one for one in self.later if one[0] > self.now]
        for what in due:
            what()


def context(clock: Clock | None = None, **fields: Any) -> FilterContext:
    """The runtime has no values; formats are constants."""
    clock = clock or Clock()
    given: dict[str, Any] = {
        "stats": Stats(),
        "stat_prefix": "http.in.",
        "random": Random(1),
        "runtime": RuntimeValues(),
        "clusters": {},
        "call_later": clock.call_later,
        "now": lambda: clock.now,
        "unix_now": lambda: 1_700_000_000.0 + clock.now,
        "format": lambda text: lambda _: text.encode(),
        "failing": lambda: False,
        "route_match": lambda config: route_matches(config, Random(1), RuntimeValues()),
        "denials": Denials(),
        "ask": lambda inquiry, told: told(Outcome(503, failure="nobody to ask")),
    }
    return FilterContext(**{**given, **fields})
