"""Entries of access logs over gRPC, in batches: Envoy's rules of when one goes, and what is lost.

A batch goes when it is large enough or has waited long enough. Where the stream does not take it,
it stays, and entries for which there is no room are dropped and counted: nobody waits for a
collector. With the last log that uses it a batch goes, too, be it told or not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol
from weakref import WeakMethod

from proxy.stats import Stats
from proxy.wire.protobuf import data, data_key

LEAST_LIMIT_BYTES = 1024 * 1024
"""Of what waits, where the configuration has each entry go at once."""
LEAST_INTERVAL_S = 0.01
"""While a collector takes nothing, it is asked no more often, however short the interval is."""
PREFIX = "access_logs.grpc_access_log."
_IDENTIFIER = data_key(1)
_LOGS = {"http": data_key(2), "tcp": data_key(3)}
_ENTRY = data_key(1)


class Collector(Protocol):
    """A stream to it, opened at need."""

    @property
    def fresh(self) -> bool:
        """Nothing was told on it yet."""

    def takes(self) -> bool:
        """Opens one if there is none. False: there is none, or no room in it."""

    def tell(self, message: bytes) -> None: ...


class LogBatches:
    """identifier: `StreamAccessLogsMessage.Identifier`, for the first message of a stream.
    wake: calls something after so many seconds. `logs_written` does not count TCP (Envoy)."""

    def __init__(
        self,
        collector: Collector,
        identifier: bytes,
        kind: str,
        limit_bytes: int,
        interval_s: float,
        wake: Callable[[float, Callable[[], None]], object],
        stats: Stats,
    ) -> None:
        self._collector = collector
        self._identifier = data(_IDENTIFIER, identifier)
        self._key = _LOGS[kind]
        self._counts = kind == "http"
        self._batch_bytes = limit_bytes
        self._limit_bytes = limit_bytes or LEAST_LIMIT_BYTES
        self._interval_s = max(interval_s, LEAST_INTERVAL_S)
        self._wake = wake
        self._armed = False
        self._entries: list[bytes] = []
        self._bytes = 0
        self._written = stats.counter(f"{PREFIX}logs_written")
        self._dropped = stats.counter(f"{PREFIX}logs_dropped")
        self._flushed = stats.counter(f"{PREFIX}grpc_entries_flushed")
        self._refused = stats.counter(f"{PREFIX}grpc_entries_flush_failed")

    def has_room(self) -> bool:
        """For one more entry; one that has none is dropped, and need not be made."""
        if self._bytes < self._limit_bytes:
            return True
        self._flush()
        if self._bytes < self._limit_bytes:
            return True
        self._dropped.value += 1
        return False

    def take(self, entry: bytes) -> None:
        """Where it `has_room`."""
        if self._counts:
            self._written.value += 1
        self._entries.append(data(_ENTRY, entry))
        self._bytes += len(entry)
        if self._bytes >= self._batch_bytes:
            self._flush()
        if self._entries and not self._armed:
            self._armed = True
            self._wake(self._interval_s, self._due)

    def _due(self) -> None:
        self._armed = False
        self._flush()
        if self._entries:
            self._armed = True  # for as long as anybody logs: a dead collector keeps nothing alive
            self._wake(self._interval_s, partial(_if_there, WeakMethod(self._due)))

    def _flush(self) -> None:
        entries = self._entries
        if not entries:
            return
        if not self._collector.takes():
            self._refused.value += len(entries)
            return
        message = data(self._key, b"".join(entries))
        if self._collector.fresh:
            message = self._identifier + message
        self._collector.tell(message)
        self._flushed.value += len(entries)
        self._entries = []
        self._bytes = 0


def _if_there(action: WeakMethod[Callable[[], None]]) -> None:
    found = action()
    if found is not None:
        found()
