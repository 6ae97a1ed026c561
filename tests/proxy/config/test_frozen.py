"""Frozen classes, held against the standard library's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any

import pytest

from proxy.config.frozen import frozen
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


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(DataSource(b"secret"))
