"""Batches of log entries: when one goes, and what is lost where the collector takes nothing."""

from __future__ import annotations

import gc
from collections.abc import Callable
from weakref import ref

from envoy.service.accesslog.v3 import als_pb2

from proxy.config.model import Node
from proxy.l7.log_batches import LEAST_INTERVAL_S, LEAST_LIMIT_BYTES, PREFIX, LogBatches
from proxy.l7.log_identifier import identifier
from proxy.stats import Stats

ENTRY = b"\x12\0"
"""A request of which nothing is known."""


class FakeCollector:
    """A stream that may break, and may have no room."""

    def __init__(self) -> None:
        self.open = True
        self.fresh = True
        self.messages: list[als_pb2.StreamAccessLogsMessage] = []

    def takes(self) -> bool:
        return self.open

    def tell(self, message: bytes) -> None:
        self.fresh = False
        self.messages.append(als_pb2.StreamAccessLogsMessage.FromString(message))

    @property
    def sizes(self) -> list[int]:
        return [len(one.http_logs.log_entry) for one in self.messages]


class Batched:
    """timers: what is to be called, after how many seconds."""

    def __init__(self, limit_bytes: int = 10, kind: str = "http", interval_s: float = 0.5) -> None:
        self.collector = FakeCollector()
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.stats = Stats()
        told = identifier(Node("n", "c", ("r", "z", "")), "1", "log")

        def wake(delay_s: float, action: Callable[[], None]) -> None:
            self.timers.append((delay_s, action))

        collector, stats = self.collector, self.stats
        self.batches = LogBatches(collector, told, kind, limit_bytes, interval_s, wake, stats)

    def take(self, count: int = 1) -> None:
        for _ in range(count):
            if self.batches.has_room():
                self.batches.take(ENTRY)

    def run_out(self) -> None:
        timers, self.timers = self.timers, []
        for _, action in timers:
            action()

    def count(self, name: str) -> int:
        return self.stats.counter(PREFIX + name).value


def test_a_batch_goes_when_it_is_large_enough() -> None:
    batched = Batched()
    batched.take(4)
    assert not batched.collector.messages
    batched.take()
    assert batched.collector.sizes == [5]


def test_a_batch_goes_when_it_has_waited_long_enough() -> None:
    batched = Batched()
    batched.take(2)
    assert [delay_s for delay_s, _ in batched.timers] == [0.5]
    batched.run_out()
    assert batched.collector.sizes == [2]
    assert not batched.timers  # nothing waits


def test_without_a_buffer_each_goes_at_once() -> None:
    batched = Batched(limit_bytes=0)
    batched.take(2)
    assert batched.collector.sizes == [1, 1]


def test_who_tells_is_said_once_in_a_stream() -> None:
    batched = Batched(limit_bytes=0)
    batched.take(2)
    batched.collector.fresh = True  # it broke, and is opened again
    batched.take()
    first, second, third = batched.collector.messages
    assert first.identifier.node.id == "n" and first.identifier.log_name == "log"
    assert first.identifier.node.locality.zone == "z"
    assert not second.HasField("identifier")
    assert third.identifier == first.identifier


def test_what_finds_no_room_is_dropped_and_counted() -> None:
    batched = Batched()
    batched.collector.open = False
    batched.take(100)
    assert (batched.count("logs_written"), batched.count("logs_dropped")) == (5, 95)
    assert batched.count("grpc_entries_flushed") == 0 < batched.count("grpc_entries_flush_failed")
    batched.run_out()
    assert batched.timers  # it is tried again
    batched.collector.open = True
    batched.run_out()
    assert batched.collector.sizes == [5]
    assert batched.count("grpc_entries_flushed") == 5


def test_what_waits_is_bounded_where_nothing_is_to_wait() -> None:
    batched = Batched(limit_bytes=0)
    batched.collector.open = False
    batched.batches.take(bytes(LEAST_LIMIT_BYTES))
    batched.take()
    assert batched.count("logs_dropped") == 1


def test_connections_are_told_of_likewise_and_not_counted_as_written() -> None:
    batched = Batched(kind="tcp")
    batched.take(5)
    assert batched.collector.messages[0].HasField("tcp_logs")
    assert batched.count("logs_written") == 0


def test_a_log_that_is_gone_is_not_kept_by_a_collector_that_takes_nothing() -> None:
    batched = Batched()
    batched.collector.open = False
    batched.take(2)
    kept = ref(batched.batches)
    del batched.batches
    assert kept() is not None  # it is tried once more
    batched.run_out()
    gc.collect()
    assert kept() is None
    batched.run_out()
    assert not batched.timers


def test_a_dead_collector_is_not_asked_without_pause() -> None:
    batched = Batched(interval_s=1e-9)
    batched.collector.open = False
    batched.take(1)
    batched.run_out()
    assert [delay_s for delay_s, _ in batched.timers] == [LEAST_INTERVAL_S]
