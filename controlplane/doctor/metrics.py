"""The doctor's findings for Prometheus, as of the last look. The labels are kinds and severities,
never proxies: their number does not count here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from certs.doctor import Severity
from controlplane.doctor.findings import KINDS, Finding

_PREFIX = "weft_doctor_"


class DoctorMetrics:
    """A collector of the registry."""

    def __init__(
        self, registry: CollectorRegistry, findings: Callable[[], tuple[Finding, ...]]
    ) -> None:
        self._findings = findings
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        findings = self._findings()
        yield _counts(findings)
        yield _ends(findings)
        yield from _clocks(findings)


def _counts(findings: tuple[Finding, ...]) -> Metric:
    counts = Counter((one.kind, one.severity) for one in findings)
    text = "Certificates, bundles and clocks by how they are."
    family = GaugeMetricFamily(f"{_PREFIX}findings", text, labels=("kind", "severity"))
    for kind in KINDS:
        for severity in Severity:
            family.add_metric((kind, severity.name.lower()), counts[kind, severity])
    return family


def _ends(findings: tuple[Finding, ...]) -> Metric:
    text = "When the first certificate of a kind ends (Unix seconds)."
    family = GaugeMetricFamily(f"{_PREFIX}first_expiry_timestamp_seconds", text, labels=("kind",))
    for kind in KINDS:
        ends = [one.life.not_after for one in findings if one.kind == kind and one.life]
        if ends:
            family.add_metric((kind,), min(ends))
    return family


def _clocks(findings: tuple[Finding, ...]) -> Iterator[Metric]:
    clocks = [one.clock_ahead_s for one in findings if one.kind == "clock"]
    known = [ahead_s for ahead_s in clocks if ahead_s is not None]
    for name, value, text in (
        ("clock_most_ahead_seconds", max((0.0, *known)), "Of the proxy that is most ahead of us."),
        ("clock_most_behind_seconds", -min((0.0, *known)), "Of the one that is most behind."),
        ("clocks_unknown", len(clocks) - len(known), "Connected proxies whose clock is unknown."),
    ):
        yield GaugeMetricFamily(f"{_PREFIX}{name}", text, value=value)
