"""From the rounds to a table: medians, and ratios to Envoy taken inside each round.

A ratio of two runs a few seconds apart is steadier than a ratio of two medians: what disturbs the
machine disturbs both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

JUDGE = "envoy"


@dataclass(frozen=True, slots=True)
class Sample:
    """One contender in one round."""

    contender: str
    round: int
    requests: int
    requests_per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    rss_mb: float
    ready_ms: float
    core_share: float
    failed: int


COLUMNS = (
    "proxy", "requests/s", "CPU us/request", "spread", "of Envoy", "p50 ms", "p99 ms", "RSS MB",
    "of Envoy", "ready ms", "failed",
)  # fmt: skip


def table(samples: Sequence[Sample]) -> str:
    """Markdown, a row for each contender, in the order they ran."""
    rows = [list(COLUMNS), ["---"] + ["---:"] * (len(COLUMNS) - 1)]
    names = list(dict.fromkeys(sample.contender for sample in samples))
    rows += [_row(name, samples) for name in names]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def ratio(samples: Sequence[Sample], contender: str, field: str) -> float | None:
    """Median over the rounds of `field` divided by Envoy's; None when Envoy did not run."""
    judged = {sample.round: getattr(sample, field) for sample in of(samples, JUDGE)}
    pairs = [
        getattr(sample, field) / judged[sample.round]
        for sample in of(samples, contender)
        if judged.get(sample.round)
    ]
    return median(pairs) if pairs else None


def of(samples: Sequence[Sample], contender: str) -> list[Sample]:
    return [sample for sample in samples if sample.contender == contender]


def _row(name: str, samples: Sequence[Sample]) -> list[str]:
    mine = of(samples, name)
    cpu = [sample.cpu_us for sample in mine]
    return [
        name,
        f"{median(sample.requests_per_s for sample in mine):.0f}",
        f"{median(cpu):.1f}",
        f"{min(cpu):.1f} - {max(cpu):.1f}",
        _share(ratio(samples, name, "cpu_us")),
        f"{median(sample.p50_ms for sample in mine):.2f}",
        f"{median(sample.p99_ms for sample in mine):.2f}",
        f"{median(sample.rss_mb for sample in mine):.1f}",
        _share(ratio(samples, name, "rss_mb")),
        f"{median(sample.ready_ms for sample in mine):.0f}",
        str(sum(sample.failed for sample in mine)),
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
