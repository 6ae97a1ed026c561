"""`python -m benchmarks.parts`: what the parts of a request cost, in memory, one process, no wire.

A part is a function that prepares and returns the callable to time: `@part("route: 50 hosts")`.
Compare a run with a run of the same minute; across machines only the ratios mean something.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from functools import partial
from itertools import cycle
from timeit import Timer
from typing import Any

from benchmarks import h2_parts
from benchmarks.exchange import RESPONSE, Exchange, requests
from benchmarks.features import FEATURES
from benchmarks.h2_exchange import H2Exchange
from benchmarks.tls_parts import Secured
from proxy.http.h1 import Limits, RequestReader, ResponseReader, request_head
from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from proxy.stats import Stats

Body = Callable[[], object]
PARTS: dict[str, Callable[[], Body]] = {}
REPEATS = 7
BLOCK_S = 0.05


def part(name: str) -> Callable[[Callable[[], Body]], Callable[[], Body]]:
    """Registers a part; `name` is `<room>: <what>`."""

    def register(prepare: Callable[[], Body]) -> Callable[[], Body]:
        PARTS[name] = prepare
        return prepare

    return register


def best_ns(body: Body) -> float:
    """The fastest of several blocks, per call: everything slower is the machine's doing."""
    timer = Timer(body)
    count = 1
    while timer.timeit(count) < BLOCK_S:
        count *= 2
    return min(timer.repeat(REPEATS, count)) / count * 1e9


@part("stats: the ten counters of a request")
def _counters() -> Body:
    stats = Stats()
    counters = [stats.counter(f"cluster.upstream.counter_{number}") for number in range(10)]

    def count() -> None:
        for counter in counters:
            counter.value += 1

    return count


@part("stats: 512 histogram values, noted and sorted into buckets")
def _histogram() -> Body:
    histogram = Stats().histogram("cluster.upstream.upstream_rq_time")

    def record() -> None:
        for value in range(512):
            histogram.record(float(value))
        histogram.fold()

    return record


@part("tls over a socket pair: 400 bytes from a client, 600 back, both sides")
def _tls() -> Body:
    return Secured()


class _Sink:
    """Takes what a reader says and keeps the last head."""

    head: Any = None

    def on_request(self, request: Request, data: bytes, end: bool) -> None:
        self.head = request

    def on_response(self, response: Response, data: bytes, end: bool) -> None:
        self.head = response

    def on_data(self, data: bytes) -> None: ...
    def on_end(self, trailers: Headers | None) -> None: ...
    def on_informational(self, status: int, headers: Headers) -> None: ...


@part("h1: read a request of ten headers, names seen before")
def _read_request() -> Body:
    reader = RequestReader(_Sink(), Limits())
    heads = cycle(requests())

    def read() -> None:
        reader.feed(next(heads))
        reader.rearm()

    return read


@part("h1: read a request of ten headers, names never seen")
def _read_unknown() -> Body:
    heads = cycle(
        [head.replace(b"Accept-Language", b"X-%d" % n) for n, head in enumerate(requests(5000))]
    )

    def read() -> None:
        reader = RequestReader(_Sink(), Limits())
        reader.feed(next(heads))

    return read


@part("h1: read a response")
def _read_response() -> Body:
    reader = ResponseReader(_Sink(), Limits())

    def read() -> None:
        reader.expect(b"GET")
        reader.feed(RESPONSE)

    return read


@part("h1: write a request of ten headers")
def _write_request() -> Body:
    sink = _Sink()
    RequestReader(sink, Limits()).feed(requests(1)[0])
    return lambda: request_head(sink.head)


def _exchanges() -> dict[str, Callable[[], Body]]:
    """A whole proxy without sockets, of each feature and version."""
    found: dict[str, Callable[[], Body]] = {
        f"exchange: http1, {feature}": partial(Exchange, feature) for feature in (*FEATURES, "all")
    }
    found["exchange: http2, 8 streams"] = H2Exchange
    found["exchange: gRPC, 8 calls"] = partial(H2Exchange, True)
    return found


def main(wanted: list[str]) -> None:
    """Times every part whose name contains one of `wanted`; all without."""
    gc.freeze()
    PARTS.update(h2_parts.parts() | _exchanges())
    chosen = [n for n in PARTS if not wanted or any(word in n for word in wanted)]

    async def run() -> None:  # some parts look for a running loop
        for name in chosen:
            print(f"{best_ns(PARTS[name]()):10.0f} ns  {name}", flush=True)

    asyncio.run(run())


if __name__ == "__main__":
    main(sys.argv[1:])
