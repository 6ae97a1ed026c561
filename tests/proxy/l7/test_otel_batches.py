"""Access logs over OTLP: when a batch goes, and what counts as told or as lost."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from proxy.config.model.grpc_logs import OtelLog
from proxy.config.model.services import GrpcService
from proxy.http.grpc import PREFIX_BYTES
from proxy.http.headers import Headers
from proxy.http.inquiry import Asking, Inquiry, Outcome, Told
from proxy.l7.log_batches import LEAST_INTERVAL_S
from proxy.l7.otel_batches import LEAST_LIMIT_BYTES, MAX_UNDER_WAY, PREFIX, OtelBatches
from proxy.stats import Stats

TAKEN = Outcome(200, trailers=Headers.of([(b"grpc-status", b"0")]))
RECORD = b"\x2a\0"


class Asked:
    def cancel(self) -> None:
        raise AssertionError("nobody gives up on a batch")


class Batched:
    def __init__(self, buffer_bytes: int = 4, interval_s: float = 1.0) -> None:
        self.asked: list[tuple[Inquiry, Told]] = []
        self.timers: list[Callable[[], None]] = []
        self.delays: list[float] = []
        self.stats = Stats()
        service = GrpcService("otel", "otel.test")
        config = OtelLog("log", service, interval_s, buffer_bytes)

        def ask(inquiry: Inquiry, told: Told) -> Asking:
            self.asked.append((inquiry, told))
            return Asked()

        def wake(delay_s: float, action: Callable[[], None]) -> None:
            self.timers.append(action)
            self.delays.append(delay_s)

        self.batches = OtelBatches(config, b"", ask, wake, self.stats)

    def take(self, count: int) -> None:
        for _ in range(count):
            if self.batches.has_room():
                self.batches.take(RECORD)

    def counts(self) -> tuple[int, int]:
        names = ("logs_written", "logs_dropped")
        written, dropped = (self.stats.counter(PREFIX + name).value for name in names)
        return written, dropped


def test_a_batch_is_one_request() -> None:
    batched = Batched()
    batched.take(2)
    ((inquiry, _),) = batched.asked
    assert (inquiry.cluster, inquiry.request.authority) == ("otel", b"otel.test")
    message = logs_service_pb2.ExportLogsServiceRequest.FromString(inquiry.body[PREFIX_BYTES:])
    assert len(message.resource_logs[0].instrumentation_library_logs[0].logs) == 2


def test_a_batch_goes_when_it_has_waited_long_enough() -> None:
    batched = Batched(buffer_bytes=1000)
    batched.take(1)
    assert not batched.asked
    batched.timers.pop()()
    assert len(batched.asked) == 1 and not batched.timers


def test_entries_count_when_it_is_known_what_became_of_them() -> None:
    batched = Batched()
    batched.take(6)
    assert batched.counts() == (0, 0)
    outcomes = (TAKEN, Outcome(503, failure="timeout"), Outcome(200))
    for (_, told), outcome in zip(batched.asked, outcomes, strict=True):
        told(outcome)
    assert batched.counts() == (2, 4)


def test_a_slow_collector_gets_larger_batches_and_no_more_than_fit() -> None:
    batched = Batched()
    batched.take(2 * MAX_UNDER_WAY + 3)
    assert len(batched.asked) == MAX_UNDER_WAY
    batched.batches.take(bytes(LEAST_LIMIT_BYTES))
    batched.take(1)
    assert batched.counts() == (0, 1)
    batched.asked[0][1](TAKEN)
    batched.timers.pop()()
    assert len(batched.asked) == MAX_UNDER_WAY + 1
    assert len(batched.asked[-1][0].body) > LEAST_LIMIT_BYTES


def test_a_batch_may_be_as_large_as_it_is_configured() -> None:
    batched = Batched(buffer_bytes=2 * LEAST_LIMIT_BYTES)
    batched.batches.take(bytes(LEAST_LIMIT_BYTES))
    assert batched.batches.has_room()
    batched.batches.take(bytes(LEAST_LIMIT_BYTES))
    assert len(batched.asked) == 1
    assert batched.counts() == (0, 0)


def test_while_nobody_takes_a_batch_nobody_looks_without_pause() -> None:
    batched = Batched(interval_s=0.0)
    batched.take(2 * MAX_UNDER_WAY + 1)
    for _ in range(3):
        batched.timers.pop(0)()
    assert set(batched.delays) == {LEAST_INTERVAL_S} and batched.timers
