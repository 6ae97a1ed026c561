"""What an analyzer found, and how it stands beside what translation says of the same place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from controlplane.analyze.catalogue import CODES
from controlplane.analyze.items import Item, Items
from controlplane.mesh.model import Position, Status


class Finding(NamedTuple):
    """code: Istio's, as 'IST0101'. message: what is wrong and what to do."""

    code: str
    item: Item
    position: Position
    message: str

    def status(self) -> Status:
        kind = CODES[self.code]
        code = f"{self.code} {kind.name}"
        return Status(self.position, kind.severity, code, self.item.label, self.message)


Analyzer = Callable[[Items], Iterator[Finding]]


def beside(said: Iterable[Status], findings: Iterable[Finding]) -> set[Status]:
    """Both, where translation has said the same of the same place only that, with Istio's code."""
    by_place: dict[tuple[Position, str], list[Status]] = {}
    for status in said:
        by_place.setdefault((status.position, status.object), []).append(status)
    found: set[Status] = {status for told in by_place.values() for status in told}
    codes: dict[Status, list[str]] = {}
    for finding in findings:
        made = finding.status()
        told = by_place.get((made.position, made.object), [])
        twins = [one for one in told if one.code in CODES[finding.code].twins]
        if not twins:
            found.add(made)
        for twin in twins:
            if made.code not in codes.setdefault(twin, []):
                codes[twin].append(made.code)
    for twin, also in codes.items():
        found.discard(twin)
        found.add(replace(twin, message=f"{twin.message} ({', '.join(also)})"))
    return found
