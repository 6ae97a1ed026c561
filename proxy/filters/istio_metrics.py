"""Istio's metrics as they are configured: which there are, with which labels.

What a metric is called and what its labels say is decided once for each combination of values;
requests and connections find their counters by a tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from proxy.config.model.istio import Expression, MetricOverride
from proxy.stats import Counter, Labels, Stats

PREFIX: Final = "istio_"
OVERFLOW: Final = "istio_stats.overflow"
"""Requests and connections that stand in no other metric: there are too many labels."""
FORGOTTEN: Final = "istio_stats.forgotten"
"""Samples that were idle, or gave way."""
NOWHERE: Final = Counter()
"""Where nobody looks."""

Record = Callable[[float], None]


def ignore(value: float) -> None:
    """Of a metric that is not wanted."""


class Metrics:
    """names: of all metrics that there may be. expressions: of the tags that users want; their
    values are worked out for each request."""

    def __init__(
        self, names: tuple[str, ...], overrides: tuple[MetricOverride, ...], stats: Stats
    ) -> None:
        self._labelled = stats.labelled
        self._stats = stats
        stats.derive(FORGOTTEN, lambda: stats.labelled.forgotten)
        self._dropped: set[str] = set()
        self._tags: dict[str, dict[str, int | None]] = {name: {} for name in names}
        found: dict[Expression, int] = {}
        for one in overrides:
            for name in (one.metric,) if one.metric else names:
                if name in self._tags:
                    self._override(name, one, found)
        self.expressions = tuple(found)

    def _override(self, name: str, override: MetricOverride, found: dict[Expression, int]) -> None:
        """None for a tag that is taken out, else which expression says it."""
        if override.drop:
            self._dropped.add(name)
        tags = self._tags[name]
        for tag in override.removes:
            tags[tag] = None
        for tag, expression in override.dimensions:
            tags[tag] = found.setdefault(expression, len(found))

    def overflow(self) -> Counter:
        return self._stats.counter(OVERFLOW)

    def counter(
        self,
        name: str,
        labels: Labels,
        values: tuple[str, ...],
        stranger: bool,
        other: Counter = NOWHERE,
    ) -> Counter:
        """stranger: whoever made these labels has not said who he is. other: counts what they have
        no room for. Those that are there stay, whoever fills the rest."""
        if name in self._dropped:
            return NOWHERE
        labels = self._labels(name, labels, values)
        found = self._labelled.counter(PREFIX + name, labels, stranger)
        return other if found is None else found

    def recorder(
        self, name: str, labels: Labels, values: tuple[str, ...], stranger: bool
    ) -> Record:
        if name in self._dropped:
            return ignore
        labels = self._labels(name, labels, values)
        found = self._labelled.histogram(PREFIX + name, labels, stranger)
        return ignore if found is None else found.record

    def _labels(self, name: str, labels: Labels, values: tuple[str, ...]) -> Labels:
        tags = self._tags[name]
        return labels if not tags else _with(tags, labels, values)


def faces_strangers(node_id: str, metadata: Mapping[str, object]) -> bool:
    """A gateway, whose clients are not of the mesh: Istio's node type `router`."""
    return node_id.startswith("router~") or "WEFT_GATEWAY" in metadata


def _with(tags: Mapping[str, int | None], labels: Labels, values: tuple[str, ...]) -> Labels:
    standing = {label for label, _ in labels}
    found: list[tuple[str, str]] = []
    for label, value in labels:
        if label not in tags:
            found.append((label, value))
        elif (at := tags[label]) is not None:
            found.append((label, values[at]))
    for tag in sorted(tags):
        at = tags[tag]
        if at is not None and tag not in standing:
            found.append((tag, values[at]))
    return tuple(found)
