"""The doctor's log lines and metrics: once for each thing, and bounded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from certs.doctor import Severity
from controlplane.doctor.findings import Finding, Life
from controlplane.doctor.metrics import DoctorMetrics
from controlplane.doctor.watch import MAX_LINES, SLICE, Watch

NOW = 1_800_000_000.0


class Ward:
    """What there is to be found."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.watch = Watch(self._examine, lambda: NOW)

    def _examine(self, now: float) -> Iterator[Finding]:
        assert now == NOW
        yield from self.findings

    def look(self, *findings: Finding) -> None:
        self.findings = list(findings)
        asyncio.run(self.watch.look())


def leaf(severity: Severity, where: str = "cart-1", ends: float = NOW) -> Finding:
    life = Life(ends - 600, ends)
    return Finding(severity, "identity", where, "ends soon", "", "it fails", "1f", life=life)


def test_each_thing_is_told_once_and_again_when_it_gets_worse_or_comes_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ward = Ward()
    for severity in (Severity.OK, Severity.WARNING, Severity.WARNING, Severity.ERROR):
        ward.look(leaf(severity))
    ward.look(leaf(Severity.OK))
    ward.look(leaf(Severity.WARNING))
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.WARNING, logging.ERROR, logging.WARNING]
    said = caplog.records[0].getMessage()
    assert said == "identity of cart-1 serial=1f: ends soon; what breaks: it fails"


def test_a_large_mesh_fills_no_log_and_the_worst_comes_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ward = Ward()
    many = [leaf(Severity.WARNING, f"cart-{number}") for number in range(2 * SLICE)]
    ward.look(*many, leaf(Severity.ERROR, "last", NOW + 1))
    assert len(caplog.records) == MAX_LINES + 1
    assert "identity of last" in caplog.records[0].getMessage()
    assert f"{2 * SLICE + 1 - MAX_LINES} more" in caplog.records[-1].getMessage()
    assert ward.watch.findings[0].where == "last"


def test_metrics_count_and_never_name_a_proxy() -> None:
    ward = Ward()
    registry = CollectorRegistry()
    DoctorMetrics(registry, lambda: ward.watch.findings)
    nothing = generate_latest(registry).decode()
    clocks = [
        Finding(Severity.OK, "clock", "a", "", clock_ahead_s=4.0),
        Finding(Severity.OK, "clock", "b", "", clock_ahead_s=-7.5),
        Finding(Severity.OK, "clock", "c", ""),
    ]
    ward.look(leaf(Severity.WARNING, "a", NOW + 9), leaf(Severity.WARNING, "b"), *clocks)
    found = generate_latest(registry).decode()
    assert 'weft_doctor_findings{kind="identity",severity="warning"} 2.0' in found
    assert 'first_expiry_timestamp_seconds{kind="identity"} 1.8e+09' in found
    assert "weft_doctor_clock_most_ahead_seconds 4.0" in found
    assert "weft_doctor_clock_most_behind_seconds 7.5" in found
    assert "weft_doctor_clocks_unknown 1.0" in found
    assert len(found.splitlines()) == len(nothing.splitlines()) + 1  # the end of a kind
