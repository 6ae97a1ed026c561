"""Access logs over OTLP in batches: `LogsService/Export`, one request for each.

A batch goes when it is large enough or has waited long enough, and while few are on their way.
What does not fit meanwhile is dropped and counted, and so are the entries of a batch that nobody
took: they count as written when the collector has them (Envoy).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from proxy.config.model.grpc_logs import OtelLog
from proxy.http.grpc import framed
from proxy.http.grpc_call import call_head, error_of
from proxy.http.inquiry import Ask, Inquiry, Outcome
from proxy.l7.log_batches import LEAST_INTERVAL_S
from proxy.stats import Stats
from proxy.wire.protobuf import data, data_key

MAX_UNDER_WAY = 4
LEAST_LIMIT_BYTES = 1024 * 1024
"""Of what waits, where the configuration has batches that are smaller."""
TIMEOUT_S = 10.0
"""Of a request whose service has none."""
PATH = b"/opentelemetry.proto.collector.logs.v1.LogsService/Export"
PREFIX = "access_logs.open_telemetry_access_log."
_RESOURCE_LOGS = data_key(1)
_RESOURCE = data_key(1)
_SCOPE = data_key(2)
_RECORD = data_key(2)


class OtelBatches:
    """resource: who tells. wake: calls something after so many seconds."""

    def __init__(
        self,
        config: OtelLog,
        resource: bytes,
        ask: Ask,
        wake: Callable[[float, Callable[[], None]], object],
        stats: Stats,
    ) -> None:
        self._config = config
        self._resource = data(_RESOURCE, resource)
        self._ask = ask
        self._wake = wake
        self._armed = False
        self._under_way = 0
        self._entries: list[bytes] = []
        self._bytes = 0
        self._interval_s = max(config.flush_interval_s, LEAST_INTERVAL_S)
        self._limit_bytes = max(LEAST_LIMIT_BYTES, config.buffer_bytes)
        prefix = f"{PREFIX}{config.prefix}." if config.prefix else PREFIX
        self._written = stats.counter(f"{prefix}logs_written")
        self._dropped = stats.counter(f"{prefix}logs_dropped")

    def has_room(self) -> bool:
        """For one more entry; one that has none is dropped, and need not be made."""
        if self._bytes < self._limit_bytes:
            return True
        self._dropped.value += 1
        return False

    def take(self, entry: bytes) -> None:
        """Where it `has_room`."""
        self._entries.append(data(_RECORD, entry))
        self._bytes += len(entry)
        if self._bytes >= self._config.buffer_bytes:
            self._flush()
        self._arm()

    def _arm(self) -> None:
        if self._entries and not self._armed:
            self._armed = True
            self._wake(self._interval_s, self._due)

    def _due(self) -> None:
        self._armed = False
        self._flush()
        self._arm()

    def _flush(self) -> None:
        entries = self._entries
        if not entries or self._under_way >= MAX_UNDER_WAY:
            return
        self._entries = []
        self._bytes = 0
        self._under_way += 1
        said = self._resource + data(_SCOPE, b"".join(entries))
        self._ask(self._inquiry(data(_RESOURCE_LOGS, said)), partial(self._told, len(entries)))

    def _inquiry(self, message: bytes) -> Inquiry:
        service, body = self._config.service, framed(message)
        timeout_s = service.timeout_s or TIMEOUT_S
        pairs = [(name.encode(), value.encode()) for name, value in service.metadata]
        head = call_head(PATH, service.told_authority, pairs, len(body))
        limit, tells = service.max_message_bytes, service.envoy_headers
        return Inquiry(service.cluster, head, body, timeout_s, service.repeats, limit, tells=tells)

    def _told(self, count: int, outcome: Outcome) -> None:
        self._under_way -= 1
        is_taken = not outcome.failure and error_of(outcome) is None
        (self._written if is_taken else self._dropped).value += count
