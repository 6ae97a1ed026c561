"""The arithmetic of the benchmark report, on made-up rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import contenders
from benchmarks.contenders import Place
from benchmarks.report import Sample, ratio, table


def sample(contender: str, number: int, cpu_us: float, failed: int = 0) -> Sample:
    return Sample(
        contender=contender,
        round=number,
        requests=1000,
        requests_per_s=1e6 / cpu_us,
        cpu_us=cpu_us,
        p50_ms=1.0,
        p99_ms=2.0,
        rss_mb=40.0,
        ready_ms=300.0,
        core_share=1.0,
        failed=failed,
    )


def test_the_ratio_is_taken_inside_each_round() -> None:
    quiet, disturbed = 0, 1
    samples = [
        sample("weft", quiet, 20.0),
        sample("envoy", quiet, 40.0),
        sample("weft", disturbed, 60.0),
        sample("envoy", disturbed, 120.0),
    ]
    assert ratio(samples, "weft", "cpu_us") == 0.5
    assert ratio(samples, "envoy", "cpu_us") == 1.0


def test_without_envoy_there_is_no_ratio() -> None:
    samples = [sample("weft", 0, 20.0)]
    assert ratio(samples, "weft", "cpu_us") is None
    assert "| weft | 50000 | 20.0 | 20.0 - 20.0 | - |" in table(samples)


def test_failures_of_all_rounds_are_summed() -> None:
    samples = [sample("weft", 0, 20.0, failed=2), sample("weft", 1, 20.0, failed=1)]
    assert table(samples).splitlines()[-1].endswith("| 3 |")


def test_envoy_and_weft_get_the_same_bootstrap(tmp_path: Path) -> None:
    if not contenders.ENVOY.exists():
        pytest.skip("no Envoy in .peers: `make setup` installs it")
    place = Place(1, 2, 3, tmp_path)
    contenders.weft(place)
    contenders.envoy(place)
    assert (tmp_path / "weft.json").read_bytes() == (tmp_path / "envoy.json").read_bytes()
