"""`frozen`: what `dataclass(frozen=True, slots=True)` makes, most of it with the first instance.

The standard library compiles six functions for each class when its module is imported, which takes
half a millisecond; the model has some two hundred classes, of which a bootstrap uses a fifth.
`fields`, `replace` and type checkers see a dataclass.
"""

from __future__ import annotations

from dataclasses import Field, FrozenInstanceError, dataclass, field, fields, make_dataclass
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")
_COMPILED = ("__init__", "__repr__", "__eq__", "__hash__")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """For classes without `__post_init__` and without a base that has fields."""
    cls.__doc__ = cls.__doc__ or cls.__name__  # else the standard library works a signature out
    made: Any = dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    made.__init__ = _first_init
    made.__setattr__ = _set
    made.__delattr__ = _delete
    found: type[T] = made
    return found


def _first_init(self: Any, *args: Any, **given: Any) -> None:
    cls = type(self)
    listed = [(each.name, each.type, _again(each)) for each in fields(cls)]
    compiled = make_dataclass(cls.__name__, listed, frozen=True)
    for name in _COMPILED:
        setattr(cls, name, compiled.__dict__[name])
    cls.__init__(self, *args, **given)


def _again(one: Field[Any]) -> Any:
    """The field as it was written."""
    given: Any = {"repr": one.repr, "hash": one.hash, "compare": one.compare}
    return field(default=one.default, default_factory=one.default_factory, **given)


def _set(self: object, name: str, value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete(self: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
