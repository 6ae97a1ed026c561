"""Two records of the same scenario: where they differ, deliberate deviations aside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEVIATIONS = Path(__file__).with_name("deviations.yaml")
ABSENT = "(absent)"


@dataclass(frozen=True, slots=True)
class Difference:
    """`path` is where, as `client.0.responses.0.headers.server`; the values are both sides'."""

    path: str
    envoy: Any
    weft: Any

    def __str__(self) -> str:
        return f"{self.path}\n    envoy: {self.envoy!r}\n    weft:  {self.weft!r}"


@dataclass(frozen=True, slots=True)
class Deviation:
    """Weft means to differ: `scenario` and `path` are patterns with `*`."""

    scenario: str
    path: str
    reason: str


@cache
def deviations() -> tuple[Deviation, ...]:
    """The table of deviations.yaml; TypeError when an entry lacks a field, also the reason."""
    entries = yaml.load(DEVIATIONS.read_text("utf-8"), yaml.CSafeLoader) or []
    return tuple(Deviation(**entry) for entry in entries)


def differences(
    scenario: str, envoy: Any, weft: Any, allowed: Sequence[Deviation] | None = None
) -> list[Difference]:
    """Everything that is not equal and not in the table. Statistics that only one side has are no
    difference, unless the scenario asked for them (then they are None, not missing)."""
    table = deviations() if allowed is None else allowed
    return [
        difference
        for difference in _walk("", envoy, weft)
        if not any(
            fnmatchcase(scenario, entry.scenario) and fnmatchcase(difference.path, entry.path)
            for entry in table
        )
    ]


def _walk(path: str, envoy: Any, weft: Any) -> Iterator[Difference]:
    if _counted(envoy) and _counted(weft):
        if _far_apart(envoy, weft):
            yield Difference(path, envoy["counts"], weft["counts"])
    elif isinstance(envoy, dict) and isinstance(weft, dict):
        keys = set(envoy) & set(weft) if path == "stats" else set(envoy) | set(weft)
        for key in sorted(keys):
            where = f"{path}.{key}" if path else str(key)
            yield from _walk(where, envoy.get(key, ABSENT), weft.get(key, ABSENT))
    elif isinstance(envoy, list) and isinstance(weft, list) and len(envoy) == len(weft):
        for number, (one, other) in enumerate(zip(envoy, weft, strict=True)):
            yield from _walk(f"{path}.{number}", one, other)
    elif envoy != weft:
        yield Difference(path, envoy, weft)


def _counted(seen: Any) -> bool:
    return isinstance(seen, dict) and "counts" in seen and "tolerance" in seen


def _far_apart(envoy: Any, weft: Any) -> bool:
    """Two distributions: whether any part differs by more than the tolerance of the whole."""
    names = envoy["counts"].keys() | weft["counts"].keys()
    shares = (
        abs(envoy["counts"].get(name, 0) / envoy["of"] - weft["counts"].get(name, 0) / weft["of"])
        for name in names
        if envoy["of"] and weft["of"]
    )
    return bool(envoy["of"] != weft["of"] or max(shares, default=0.0) > envoy["tolerance"])
