"""Whether a control plane serves, and what is in the way: what its /ready says."""

from __future__ import annotations

from collections.abc import Callable, Iterable


class Standing:
    """troubles: of a source that is not listed yet. doubts: policies that are not known."""

    __slots__ = ("doubts", "serving", "troubles")

    def __init__(self) -> None:
        self.serving = False
        self.troubles: Callable[[], Iterable[str]] = tuple
        self.doubts: Callable[[], Iterable[str]] = tuple
