"""Envoy's runtime: values by key that can change what the configuration says, without a push.

Layers from the bootstrap, later ones win; the administrator's stands above them all. Keys of
nested objects are joined by dots; an object with `numerator` or `denominator` is a fraction. Knows
no reader of a key: those ask at the time of use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}


class RuntimeValues:
    """layers: (name, tree of values) in order, the lowest first."""

    def __init__(self, layers: Iterable[tuple[str, Mapping[str, Any]]] = ()) -> None:
        self.layers = [(name, dict(flat(tree))) for name, tree in layers]
        self.overrides: dict[str, Any] = {}
        self._values: dict[str, Any] = {}
        self._join()

    def override(self, changes: Mapping[str, str]) -> None:
        """The administrator's layer; an empty value takes a key out of it."""
        for key, value in changes.items():
            if value:
                self.overrides[key] = _parsed(value)
            else:
                self.overrides.pop(key, None)
        self._join()

    def _join(self) -> None:
        joined: dict[str, Any] = {}
        for _, values in self.layers:
            joined |= values
        self._values = joined | self.overrides

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(sorted(self._values.items()))

    def boolean(self, key: str, default: bool) -> bool:
        value = self._values.get(key)
        return value if isinstance(value, bool) else default

    def number(self, key: str, default: float) -> float:
        value = self._values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return default
        return value

    def integer(self, key: str, default: int) -> int:
        """A whole number of 0 or more."""
        value = self._values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            return default
        return int(value) if value == int(value) else default

    def fraction(self, key: str, numerator: int, denominator: int) -> tuple[int, int]:
        """The fraction for `key`, else the given one. A plain number is a percentage."""
        value = self._values.get(key)
        if value is None:
            return numerator, denominator
        if isinstance(value, Mapping):
            words = str(value.get("denominator", "HUNDRED"))
            return int(value.get("numerator", 0)), DENOMINATORS.get(words, 100)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            return numerator, denominator
        return min(int(value), 100), 100


def flat(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and not _is_fraction(value):
            yield from flat(value, f"{before}{key}.")
        else:
            yield before + key, _parsed(value) if isinstance(value, str) else value


def _is_fraction(value: Mapping[str, Any]) -> bool:
    return not value or "numerator" in value or "denominator" in value


def _parsed(text: str) -> Any:
    """Text that spells a number or a boolean is one."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
