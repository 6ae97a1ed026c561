"""Which traces are sampled by a share of their ids: as Envoy 1.40 did with these."""

from __future__ import annotations

from random import Random

import pytest

from proxy.config.model import FractionalPercent
from proxy.config.model.tracing import Sampler
from proxy.http.headers import Headers
from proxy.http.inquiry import Asking, Inquiry, Told
from proxy.http.message import Request
from proxy.runtime import RuntimeValues
from proxy.stats import Stats
from proxy.tracing.export import Exporter
from proxy.tracing.tracers import OpenTelemetryTracer
from tests.proxy.tracing.test_exporting import Encoder

THIRTY = FractionalPercent(30)
"""Percent."""
IN = "1d0000000000000000000000000000ff"
OUT = "000000000000001d00000000000000ff"


def ask(inquiry: Inquiry, told: Told) -> Asking:
    raise AssertionError("nothing is sent")


def started(
    sampler: Sampler, trace_id: str = "", flag: str = "00", wanted: bool = True, seed: int = 1
) -> tuple[str, bool]:
    exporter = Exporter(Encoder(), ask, Stats(), RuntimeValues(), 8, lambda _: None)
    tracer = OpenTelemetryTracer(sampler, THIRTY, exporter, Random(seed))
    parent = f"00-{trace_id}-00f067aa0ba902b7-{flag}".encode()
    headers = Headers.of([(b"traceparent", parent)] if trace_id else [])
    span = tracer.start(Request(b"GET", b"/", b"a", headers), "SERVER", False, wanted)
    assert span is not None
    return span.trace_id, span.sampled


@pytest.mark.parametrize("flag", ["00", "01"])
def test_it_looks_at_no_parent(flag: str) -> None:
    assert started("trace_id_ratio", IN, flag) == (IN, True)
    assert started("trace_id_ratio", OUT, flag) == (OUT, False)
    assert started("trace_id_ratio", IN, flag, wanted=False) == (IN, False)


def test_beneath_a_parent_it_is_for_those_that_begin_here() -> None:
    assert started("parent_based", OUT, "01") == (OUT, True)
    assert started("parent_based", IN, "00") == (IN, False)
    for sampler in ("parent_based", "trace_id_ratio"):
        found = [started(sampler, seed=seed) for seed in range(50)]
        assert 5 < sum(sampled for _, sampled in found) < 30
        for trace_id, sampled in found:
            number = int.from_bytes(bytes.fromhex(trace_id)[:8], "little")
            assert sampled == (number % 100 < 30)
