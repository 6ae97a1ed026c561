"""Frozen classes, held against the standard library's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields
from dataclasses import replace as standard_replace
from typing import Any

import pytest

from protos.frozen import frozen, replace
from proxy.config.model.tls import DataSource


def make(decorate: Callable[[Any], Any]) -> Any:
    """The same class, by `decorate`."""

    @decorate
    class Thing:
        name: str
        hidden: bytes = field(default=b"", repr=False)
        size: int = 3
        names: tuple[str, ...] = ()
        labels: dict[str, str] = field(default_factory=dict, hash=False)

    return Thing


def both() -> tuple[Any, Any]:
    return make(frozen), make(dataclass(frozen=True, slots=True))


@pytest.mark.parametrize("of", both())
def test_instances(of: Any) -> None:
    one = of("a", b"key", labels={"x": "y"})
    same = replace(one)
    assert one == same and hash(one) == hash(same) and one is not same
    assert one != of("a") and one != "a" and one != make(frozen)("a", b"key", labels={"x": "y"})
    assert replace(one, size=4) == of("a", b"key", 4, labels={"x": "y"})
    assert repr(one).endswith(".Thing(name='a', size=3, names=(), labels={'x': 'y'})")
    assert of("a").labels is not of("a").labels


@pytest.mark.parametrize("of", both())
@pytest.mark.parametrize("change", [standard_replace, replace], ids=["standard", "ours"])
def test_replace(change: Callable[..., Any], of: Any) -> None:
    one = of("a", b"key", labels={"x": "y"})
    made = change(one, size=4, hidden=b"")
    assert made == of("a", b"", 4, (), {"x": "y"}) and one == of("a", b"key", labels={"x": "y"})
    assert type(made) is type(one) and made.labels is one.labels
    with pytest.raises(TypeError):
        change(one, other=1)


@pytest.mark.parametrize("decorate", [frozen, dataclass(frozen=True, slots=True)])
@pytest.mark.parametrize("change", [standard_replace, replace], ids=["standard", "ours"])
def test_replace_where_something_is_worked_out(change: Callable[..., Any], decorate: Any) -> None:
    @decorate
    class Sum:
        of: tuple[int, ...]
        total: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "total", sum(self.of))

    made: Any = Sum  # what `decorate` makes of it a checker can't know
    assert change(made((1, 2)), of=(3, 4)).total == 7


@pytest.mark.parametrize("of", both())
def test_what_can_not_be_done(of: Any) -> None:
    one = of("a")
    with pytest.raises(FrozenInstanceError):
        one.name = "b"
    with pytest.raises(FrozenInstanceError):
        del one.name
    with pytest.raises((FrozenInstanceError, TypeError, AttributeError)):
        one.other = 1
    with pytest.raises(TypeError):
        of()
    with pytest.raises(TypeError):
        of("a", b"", 3, (), {}, "more")
    with pytest.raises(TypeError):
        of("a", other=1)
    assert not hasattr(one, "__dict__")


def test_the_fields_are_those_of_a_dataclass() -> None:
    mine, theirs = both()
    assert mine.__match_args__ == theirs.__match_args__
    shown = [(each.name, each.type, each.repr, each.hash) for each in fields(mine)]
    assert shown == [(each.name, each.type, each.repr, each.hash) for each in fields(theirs)]


def family(decorate: Callable[[Any], Any]) -> Any:
    """A class with a base that has fields, what it says itself, and a last word."""

    @decorate
    class Base:
        name: str
        size: int = 3
        twice: int = field(init=False)

        def __post_init__(self) -> None:
            if self.size < 0:
                raise ValueError("size")
            object.__setattr__(self, "twice", 2 * self.size)

    @decorate
    class Made(Base):
        note: str = field(default="", compare=False, kw_only=True)

        def __repr__(self) -> str:
            return "made"

    return Made


@pytest.mark.parametrize("of", [family(frozen), family(dataclass(frozen=True, slots=True))])
def test_bases_and_own_words_count(of: Any) -> None:
    one = of("a", note="x")
    assert (one.name, one.twice, repr(one)) == ("a", 6, "made")
    assert one == of("a", 3) and hash(one) == hash(of("a", note="y")) and one != of("a", 4)
    with pytest.raises(ValueError, match="size"):
        replace(one, size=-1)


@pytest.mark.parametrize("decorate", [frozen, dataclass(frozen=True, slots=True)])
def test_without_fields_all_are_equal(decorate: Callable[[Any], Any]) -> None:
    @decorate
    class Nothing:
        pass

    assert Nothing() == Nothing() and hash(Nothing()) == hash(Nothing())


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(DataSource(b"secret"))


@pytest.mark.parametrize("decorate", [frozen, dataclass(frozen=True, slots=True)])
def test_how_few_fields_are_shown(decorate: Callable[[Any], Any]) -> None:
    class Pair:
        both: tuple[str, str]
        secret: bytes = field(default=b"key", repr=False)

    class Hidden:
        secret: bytes = field(default=b"key", repr=False)

    assert repr(decorate(Pair)(("100%", "b"))).endswith("Pair(both=('100%', 'b'))")
    assert repr(decorate(Hidden)()).endswith("Hidden()")
