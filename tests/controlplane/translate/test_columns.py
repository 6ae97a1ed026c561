"""Rows are made again where something of them, or an answer that they had, is another."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import Any

import pytest

from controlplane.translate.memo import Each, Memo
from controlplane.translate.questions import Index, asked, unlike


class Prices(Index):
    def __init__(self, of: Mapping[str, int]) -> None:
        self.of = of

    def marks(self, args: tuple[Any, ...]) -> Iterable[Hashable]:
        return args

    def changed_since(self, before: Prices) -> Collection[Hashable]:
        return unlike(before.of, self.of)

    @asked
    def price(self, name: str) -> int:
        ASKED.append(name)
        return self.of.get(name, 0)


ASKED: list[str] = []


class Shop:
    """What a stage makes of names and counts; made: of which names, since `clear`."""

    def __init__(self) -> None:
        self.memo = Memo()
        self.made: list[str] = []

    def build(self, prices: Mapping[str, int], rows: dict[str, int], tax: int = 0) -> list[int]:
        self.memo.begin()
        index = self.memo.index("prices", Prices, prices)

        def one(name: str, count: int, tax: int) -> int:
            self.made.append(name)
            return count * index.price(name) + tax

        def sums(each: Each) -> tuple[int, ...]:
            return each("sums", str, one, (tuple(rows), list(rows.values())), (tax,))

        return list(self.memo.stage("shop", lambda each, *_: sums(each), rows, prices, tax))


@pytest.fixture
def shop() -> Shop:
    made = Shop()
    assert made.build({"a": 1, "b": 2, "c": 3}, {"a": 10, "b": 10, "c": 10}) == [10, 20, 30]
    made.made.clear()
    ASKED.clear()
    return made


def test_nothing_is_made_again_where_nothing_changed(shop: Shop) -> None:
    assert shop.build({"a": 1, "b": 2, "c": 3}, {"a": 10, "b": 10, "c": 10}) == [10, 20, 30]
    assert shop.made == []


def test_a_row_with_another_input(shop: Shop) -> None:
    assert shop.build({"a": 1, "b": 2, "c": 3}, {"a": 10, "b": 11, "c": 10}) == [10, 22, 30]
    assert shop.made == ["b"]


def test_only_who_asked_about_what_changed_is_asked_again(shop: Shop) -> None:
    assert shop.build({"a": 1, "b": 2, "c": 4}, {"a": 10, "b": 10, "c": 10}) == [10, 20, 40]
    assert shop.made == ["c"]
    assert set(ASKED) == {"c"}


def test_rows_that_come_go_and_move(shop: Shop) -> None:
    prices = {"a": 1, "b": 2, "c": 3, "d": 4}
    assert shop.build(prices, {"d": 1, "c": 10, "a": 10}) == [4, 30, 10]
    assert shop.made == ["d"]
    shop.made.clear()
    assert shop.build({**prices, "b": 9}, {"d": 1, "c": 10, "a": 10}) == [4, 30, 10]
    assert shop.made == []  # who asked about it has gone
    assert shop.build({**prices, "d": 5}, {"d": 1, "c": 10, "a": 10}) == [5, 30, 10]
    assert shop.made == ["d"]


def test_all_are_made_again_on_another_ground(shop: Shop) -> None:
    found = shop.build({"a": 1, "b": 2, "c": 3}, {"a": 10, "b": 10, "c": 10}, tax=1)
    assert found == [11, 21, 31]
    assert shop.made == ["a", "b", "c"]


def test_a_build_that_fails_is_made_up_for(shop: Shop) -> None:
    with pytest.raises(TypeError):
        shop.build({"a": 5, "b": None, "c": 3}, {"a": 10, "b": 10, "c": 10})  # type: ignore[dict-item]
    assert shop.build({"a": 5, "b": 2, "c": 3}, {"a": 10, "b": 10, "c": 10}) == [50, 20, 30]


def test_a_name_stands_for_one_row() -> None:
    memo = Memo()

    def build(*names: str) -> None:
        memo.begin()
        memo.stage("shop", lambda each, of: each("names", str, str.upper, (of,), ()), names)

    build("a", "a")
    with pytest.raises(AssertionError, match="one row"):
        build("b")
