"""`frozen`: what `dataclass(frozen=True, slots=True)` makes, without what makes it slow to import.

The standard library compiles six functions for each class when its module is imported, which takes
half a millisecond to two; a proxy has some two hundred such classes, a control plane three times
as many, of which a run uses a part. Here the constructor is compiled with the first object, and the
other five are the same functions for all. `fields`, `replace` and type checkers see a dataclass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """What a class says itself of equality, hash and representation counts."""
    cls.__doc__ = cls.__doc__ or cls.__name__  # else the standard library works a signature out
    made: Any = dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    made.__init__ = _first_init
    made.__setattr__ = _set
    made.__delattr__ = _delete
    for name, function in _SHARED.items():
        if name not in made.__dict__:
            setattr(made, name, function)
    found: type[T] = made
    return found


def _first_init(self: Any, *args: Any, **given: Any) -> None:
    cls = type(self)
    cls.__init__ = _compiled(cls)
    cls.__init__(self, *args, **given)


def _compiled(cls: Any) -> Any:
    """Its constructor; names of the fields are identifiers, so that this text is what it seems."""
    given = [each for each in fields(cls) if each.init]  # others are __post_init__'s
    listed = [each for each in given if not each.kw_only]
    named = [each for each in given if each.kw_only]
    parameters = ["self", *map(_parameter, listed), *["*"][: len(named)], *map(_parameter, named)]
    lines = [f"_set_{each.name}(self, {_value(each)})" for each in (*listed, *named)]
    lines += ["self.__post_init__()"] if hasattr(cls, "__post_init__") else []
    text = f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines or ["pass"])
    there: dict[str, Any] = {"_ABSENT": _ABSENT}
    for each in given:
        there[f"_set_{each.name}"] = getattr(cls, each.name).__set__  # of its slot: half the time
        there[f"_default_{each.name}"] = each.default
        there[f"_make_{each.name}"] = each.default_factory
    exec(text, there)  # as the standard library does
    made = there["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


_ABSENT = object()


def _parameter(one: Field[Any]) -> str:
    if one.default is not MISSING:
        return f"{one.name}=_default_{one.name}"
    return one.name if one.default_factory is MISSING else f"{one.name}=_ABSENT"


def _value(one: Field[Any]) -> str:
    if one.default_factory is MISSING:
        return one.name
    return f"_make_{one.name}() if {one.name} is _ABSENT else {one.name}"


def _set(self: object, name: str, value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete(self: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


# --------------------------------------------------------------------------- replace

if TYPE_CHECKING:
    from dataclasses import replace as replace  # so that a checker knows the fields
else:

    def replace(made, /, **changes):
        """As the standard library's, in a quarter of its time where a class is `frozen`."""
        cls = type(made)
        copy = _copies.get(cls) or _copies.setdefault(cls, _copied(cls))
        return copy(made, changes)


Copy = Callable[[Any, dict[str, Any]], Any]
_copies: dict[type, Copy] = {}


def _copied(cls: Any) -> Copy:
    own = cls.__setattr__ is _set and not hasattr(cls, "__post_init__")
    if not own or not all(each.init for each in fields(cls)):
        return lambda made, changes: dataclasses.replace(made, **changes)
    there: dict[str, Any] = {"new": object.__new__, "cls": cls}
    lines = ["made = new(cls)"]
    for each in fields(cls):
        there[f"_set_{each.name}"] = getattr(cls, each.name).__set__
        lines.append(f"_set_{each.name}(made, old.{each.name})")
    text = "def copy(old):\n " + "\n ".join([*lines, "return made"])
    exec(text, there)  # as of a constructor
    copy, setters = there["copy"], {each.name: there[f"_set_{each.name}"] for each in fields(cls)}

    def changed(old: Any, changes: dict[str, Any]) -> Any:
        made = copy(old)
        for name, value in changes.items():
            if name not in setters:
                raise TypeError(f"{cls.__qualname__} has no field {name!r}")
            setters[name](made, value)
        return made

    return changed


# --------------------------------------------------------------------------- the same for all

_compared: dict[type, Callable[[Any], object]] = {}
_hashed: dict[type, Callable[[Any], object]] = {}
_shown: dict[type, tuple[str, Callable[[Any], object]]] = {}
"""'a=%r, b=%r', and what stands there."""


def _eq(self: Any, other: object) -> Any:
    cls = self.__class__
    if other.__class__ is not cls:
        return NotImplemented
    values = _compared.get(cls) or _compared.setdefault(cls, _compared_values(cls))
    return values(self) == values(other)


def _hash(self: Any) -> int:
    cls = self.__class__
    values = _hashed.get(cls) or _hashed.setdefault(cls, _hashed_values(cls))
    return hash(values(self))


def _repr(self: Any) -> str:
    cls = self.__class__
    template, values = _shown.get(cls) or _shown.setdefault(cls, _shown_values(cls))
    return f"{cls.__qualname__}({template % values(self)})"


_SHARED: dict[str, Callable[..., object]] = {"__eq__": _eq, "__hash__": _hash, "__repr__": _repr}


def _compared_values(cls: type[Any]) -> Callable[[Any], object]:
    return _values([each.name for each in fields(cls) if each.compare])


def _hashed_values(cls: type[Any]) -> Callable[[Any], object]:
    counted = [each for each in fields(cls) if (each.compare if each.hash is None else each.hash)]
    return _values([each.name for each in counted])


def _shown_values(cls: type[Any]) -> tuple[str, Callable[[Any], object]]:
    names = [each.name for each in fields(cls) if each.repr]
    template = ", ".join(f"{name}=%r" for name in names)
    values = _values(names)
    if len(names) == 1:  # which may be a tuple itself
        return template, lambda made: (values(made),)
    return template, values


def _values(names: list[str]) -> Callable[[Any], object]:
    if not names:
        return lambda made: ()
    return attrgetter(*names)
