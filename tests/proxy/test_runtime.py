"""Runtime values: layers, nesting, fractions, and the administrator's word."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.runtime import RuntimeValues


def values(*trees: dict[str, Any]) -> RuntimeValues:
    return RuntimeValues([(f"layer {at}", tree) for at, tree in enumerate(trees)])


def test_later_layers_win_and_nested_keys_are_joined() -> None:
    found = values({"a": {"b": 1, "c": "2"}, "d": True}, {"a.b": 3})
    assert dict(found) == {"a.b": 3, "a.c": 2, "d": True}
    assert found.integer("a.b", 9) == 3
    assert found.integer("none", 9) == 9
    assert found.boolean("d", False) and not found.boolean("a.b", False)
    assert found.number("a.c", 0.0) == 2 and found.number("d", 0.5) == 0.5


@pytest.mark.parametrize(
    "value, found",
    [
        (30, (30, 100)),
        (130, (100, 100)),
        ("7", (7, 100)),
        ({"numerator": 5, "denominator": "TEN_THOUSAND"}, (5, 10_000)),
        ({"numerator": 5}, (5, 100)),
        (True, (1, 2)),
        ("words", (1, 2)),
        (-1, (1, 2)),
    ],
)
def test_fractions(value: Any, found: tuple[int, int]) -> None:
    assert values({"k": value}).fraction("k", 1, 2) == found
    assert values({}).fraction("k", 1, 2) == (1, 2)


def test_whole_numbers_only() -> None:
    found = values({"half": 0.5, "less": -1, "whole": 2.0})
    assert [found.integer(key, 7) for key in ("half", "less", "whole")] == [7, 7, 2]


def test_the_administrator_has_the_last_word_and_takes_it_back() -> None:
    found = values({"a": 1})
    found.override({"a": "2", "b": "true"})
    assert dict(found) == {"a": 2, "b": True}
    found.override({"a": "", "b": ""})
    assert dict(found) == {"a": 1}
