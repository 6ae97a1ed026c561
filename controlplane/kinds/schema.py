"""The declarative layer: a frozen dataclass whose fields are decoders of YAML nodes.

    class Destination(Record):
        UNSUPPORTED = names("...")                  refused by name
        IGNORED = names("...")                      accepted, no effect on a mesh
        NOTED = notes(sessionAffinity="why")        accepted, reported as information
        host: str = required(text)
        weight: int | None = optional(integer(0, 100))

A decoder takes (node, place) and returns a value or raises Invalid with every problem that it
found (controlplane.kinds.reading). A field's YAML name is its Python name in camelCase (`_s` of
seconds dropped) or `key=`. A Record keeps its own position and those of its fields (`at`); they do
not count for equality. Everything not named in the class is refused, with the nearest known name
as a suggestion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from collections.abc import Mapping as MappingType
from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform, overload

from controlplane.kinds.reading import NO_PLACES, Places, Spec
from controlplane.kinds.reading import Decoder as Decoder
from controlplane.kinds.reading import Invalid as Invalid
from controlplane.kinds.reading import Place as Place
from controlplane.kinds.reading import Problem as Problem
from controlplane.kinds.reading import describe as describe
from controlplane.kinds.reading import obj as obj
from controlplane.kinds.reading import plan_of as plan_of
from controlplane.kinds.reading import sentence as sentence
from controlplane.mesh.position import NOWHERE, Position

T = TypeVar("T")


def notes(**fields: str) -> MappingType[str, str]:
    """For NOTED: field=why it has no effect."""
    return fields


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def required(decode: Decoder[T], *, key: str = "") -> T:
    """A field that must be there (and not null)."""
    field: T = _field(Spec(decode, True, key, None))
    return field


@overload
def optional(decode: Decoder[T], *, key: str = "", hidden: bool = False) -> T | None: ...
@overload
def optional(decode: Decoder[T], default: T, *, key: str = "", hidden: bool = False) -> T: ...
def optional(
    decode: Decoder[Any], default: Any = None, *, key: str = "", hidden: bool = False
) -> Any:
    """A field that may be missing or null, which is the same. hidden: not to be seen in a log."""
    return _field(Spec(decode, False, key, default), hidden)


def _field(spec: Spec, hidden: bool = False) -> Any:
    return dataclasses.field(repr=not hidden, metadata={"weft": spec})


@dataclass_transform(kw_only_default=True, frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """The decorator of every Record: a frozen, slotted dataclass with keyword arguments. Its
    functions are those of Record: to compile six for each class is half of what importing all
    kinds would cost."""
    cls.__doc__ = cls.__doc__ or cls.__name__  # else the standard library works a signature out
    made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=True)(cls)
    found: type[T] = made
    return found


@record
class Record:
    """A YAML mapping with known fields. PLACES False: where each of them stands is not kept, which
    costs more memory than the values."""

    PLACES: ClassVar[bool] = True
    UNSUPPORTED: ClassVar[frozenset[str]] = frozenset()
    IGNORED: ClassVar[frozenset[str]] = frozenset()
    NOTED: ClassVar[MappingType[str, str]] = {}

    position: Position = dataclasses.field(default=NOWHERE, compare=False, repr=False)
    where: Places = dataclasses.field(default=NO_PLACES, compare=False, repr=False)

    def at(self, key: str) -> Position:
        """Where the field `key` ('hosts', or 'hosts[1]') was written, else this record."""
        return self.where.get(key) or self.position

    def check(self) -> Iterator[tuple[str, str]]:
        """Rules between fields: (field, what is wrong with it)."""
        return iter(())

    def __init__(self, **given: Any) -> None:
        defaults = plan_of(type(self)).defaults
        if unknown := given.keys() - defaults.keys():
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        for name, default in defaults.items():
            object.__setattr__(self, name, given.get(name, default))

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        values = plan_of(type(self)).values
        return values(self) == values(other)

    def __hash__(self) -> int:
        return hash(plan_of(type(self)).values(self))

    def __repr__(self) -> str:
        shown = (field.name for field in dataclasses.fields(self) if field.repr)
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({values})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
