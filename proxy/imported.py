"""Tables of what is imported when it is first asked for: a proxy starts with what it uses.

Knows nothing of what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TypeVar

T = TypeVar("T")


class Imported(Mapping[str, T]):
    """places: key to 'module:name'. A test asks each table for all that it has."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def __getitem__(self, key: str) -> T:
        module, _, name = self._places[key].partition(":")
        found: T = getattr(import_module(module), name)
        return found

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
