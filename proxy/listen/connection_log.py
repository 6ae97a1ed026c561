"""The access log of a listener: one line per connection at its end, those without a chain too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from proxy.connection import ConnectionInfo
from proxy.l4.record import Chain, ConnectionRecord, Downstream

Logger = Callable[[ConnectionRecord], None]
NO_FILTER_CHAIN = "NR"
"""Envoy's flag and detail of a connection that nothing here is for."""
NO_CHAIN = Chain()


def log_refused(
    loggers: Sequence[Logger], info: ConnectionInfo, detail: str = "filter_chain_not_found"
) -> None:
    """No filter chain matches it, or no listener serves it."""
    now = monotonic()
    record = _record(info, now)
    record.ended = now
    record.flag(NO_FILTER_CHAIN)
    record.detail = detail
    for log in loggers:
        log(record)


def logged_at_end(
    loggers: Sequence[Logger], info: ConnectionInfo, closed: Callable[[], None]
) -> Callable[[], None]:
    """`closed`, which is called when the connection is over, and a line with it."""
    record = _record(info, monotonic())

    def close() -> None:
        closed()
        record.ended = monotonic()
        for log in loggers:
            log(record)

    return close


def _record(info: ConnectionInfo, started: float) -> ConnectionRecord:
    return ConnectionRecord(Downstream(info), NO_CHAIN, started, log_type="NotSet")
