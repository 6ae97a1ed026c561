"""The declarative layer: a frozen dataclass whose fields are decoders of YAML nodes.

    class Destination(Record):
        UNSUPPORTED = names("...")                  refused by name
        IGNORED = names("...")                      accepted, no effect on a mesh
        NOTED = notes(sessionAffinity="why")        accepted, reported as information
        host: str = required(text)
        weight: int | None = optional(integer(0, 100))

A decoder takes (node, place) and returns a value or raises Invalid with every problem that it
found. A field's YAML name is its Python name in camelCase (`_s` of seconds dropped) or `key=`.
A Record keeps its own position and those of its fields (`at`); they do not count for equality.
Everything not named in the class is refused, with the nearest known name as a suggestion.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterator
from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, dataclass_transform, overload

from controlplane.kinds.yaml_nodes import Mapping, Node, Scalar, Sequence
from controlplane.mesh.model import NOWHERE, Position

T = TypeVar("T")
R = TypeVar("R", bound="Record")


class Problem(NamedTuple):
    """Something to say about one place of the text; becomes a Status."""

    position: Position
    severity: Literal["error", "warning", "info"]
    code: str
    message: str


class Invalid(Exception):
    """A node that the schema refuses. Caught where an object is read."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Place:
    """Where a decoder stands: the source, the path of fields, and the notes made so far."""

    source: str
    path: str
    notes: list[Problem]

    def child(self, key: str) -> Place:
        return Place(self.source, f"{self.path}.{key}" if self.path else key, self.notes)

    def item(self, index: int) -> Place:
        return Place(self.source, f"{self.path}[{index}]", self.notes)

    def position(self, node: Node) -> Position:
        return Position(self.source, node.line, node.column, node.path)

    def problem(self, node: Node, message: str, code: str = "InvalidField") -> Problem:
        return Problem(self.position(node), "error", code, sentence(self.path, message))

    def refuse(self, node: Node, expected: str) -> Invalid:
        return Invalid([self.problem(node, f"expected {expected}, got {describe(node)}")])


Decoder = Callable[[Node, Place], T]


def describe(node: Node) -> str:
    """The node as an error message names it, short."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    if node.kind == "null":
        return "nothing"
    value = node.value if len(node.value) <= 60 else node.value[:57] + "..."
    return repr(value) if node.kind == "string" else f"the {node.kind} {value}"


def notes(**fields: str) -> MappingType[str, str]:
    """For NOTED: field=why it has no effect."""
    return fields


def sentence(path: str, message: str) -> str:
    """'spec.x is required', 'spec.x: expected ...'."""
    if not path:
        return message
    return f"{path} {message}" if message.startswith("is ") else f"{path}: {message}"


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# --------------------------------------------------------------------------- fields


@dataclass(frozen=True, slots=True)
class _Spec:
    decode: Decoder[Any]
    required: bool
    key: str


def required(decode: Decoder[T], *, key: str = "") -> T:
    """A field that must be there (and not null)."""
    field: T = _field(_Spec(decode, True, key), lambda: None)
    return field


@overload
def optional(decode: Decoder[T], *, key: str = "", hidden: bool = False) -> T | None: ...
@overload
def optional(decode: Decoder[T], default: T, *, key: str = "", hidden: bool = False) -> T: ...
def optional(
    decode: Decoder[Any], default: Any = None, *, key: str = "", hidden: bool = False
) -> Any:
    """A field that may be missing or null, which is the same. hidden: not to be seen in a log."""
    return _field(_Spec(decode, False, key), lambda: default, hidden)


def _field(spec: _Spec, default: Callable[[], Any], hidden: bool = False) -> Any:
    return dataclasses.field(default_factory=default, repr=not hidden, metadata={"weft": spec})


@dataclass_transform(kw_only_default=True, frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """The decorator of every Record: a frozen, slotted dataclass with keyword arguments."""
    return dataclass(frozen=True, slots=True, kw_only=True)(cls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A YAML mapping with known fields. PLACES False: where each of them stands is not kept, which
    costs more memory than the values."""

    PLACES: ClassVar[bool] = True
    UNSUPPORTED: ClassVar[frozenset[str]] = frozenset()
    IGNORED: ClassVar[frozenset[str]] = frozenset()
    NOTED: ClassVar[MappingType[str, str]] = {}

    position: Position = dataclasses.field(default=NOWHERE, compare=False, repr=False)
    where: MappingType[str, Position] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )

    def at(self, key: str) -> Position:
        """Where the field `key` ('hosts', or 'hosts[1]') was written, else this record."""
        return self.where.get(key, self.position)

    def check(self) -> Iterator[tuple[str, str]]:
        """Rules between fields: (field, what is wrong with it)."""
        return iter(())


class _Plan(NamedTuple):
    fields: dict[str, tuple[str, _Spec]]
    known: tuple[str, ...]


_plans: dict[type, _Plan] = {}


def plan_of(cls: type[Record]) -> _Plan:
    """YAML name -> (attribute, spec) of a Record class, and every name that it knows."""
    if cls not in _plans:
        _plans[cls] = _make_plan(cls)
    return _plans[cls]


def _make_plan(cls: type[Record]) -> _Plan:
    fields = {}
    for field in dataclasses.fields(cls):
        if (spec := field.metadata.get("weft")) is not None:
            fields[spec.key or _camel(field.name)] = (field.name, spec)
    known = {*fields, *cls.UNSUPPORTED, *cls.IGNORED, *cls.NOTED}
    return _Plan(fields, tuple(sorted(known)))


def _camel(name: str) -> str:
    head, *rest = name.removesuffix("_s").split("_")
    return head + "".join(part.capitalize() for part in rest)


class Places(MappingType[str, Position]):
    """Where the fields of a record are, with the items of lists ('hosts[1]') and the entries of
    mappings ('labels.app'): looked up when somebody asks, as most are never asked for."""

    __slots__ = ("_fields", "_node", "_source")

    def __init__(self, source: str, node: Mapping, fields: MappingType[str, object]) -> None:
        """fields: what is known; what is null is not there."""
        self._source = source
        self._node = node
        self._fields = fields

    def __getitem__(self, key: str) -> Position:
        for name, value in self._node.entries:
            known = name.value
            if key.startswith(known) and known in self._fields and not _is_null(value):
                node = value if len(key) == len(known) else _inside(value, key[len(known) :])
                if node is not None:
                    return self._position(node)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        for name, value in self._node.entries:
            if name.value in self._fields and not _is_null(value):
                yield name.value
                yield from _keys(name.value, value)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _position(self, node: Node) -> Position:
        return Position(self._source, node.line, node.column, node.path)


def _keys(key: str, value: Node) -> Iterator[str]:
    if isinstance(value, Sequence):
        yield from (f"{key}[{index}]" for index in range(len(value.items)))
    elif isinstance(value, Mapping):
        yield from (f"{key}.{name.value}" for name, _ in value.entries)


def _inside(value: Node, rest: str) -> Node | None:
    """rest: '[1]' or '.app'."""
    if isinstance(value, Sequence) and rest[0] == "[" and rest[1:-1].isdigit():
        index = int(rest[1:-1])
        return value.items[index] if index < len(value.items) else None
    if isinstance(value, Mapping) and rest[0] == ".":
        return value.get(rest[1:])
    return None


# --------------------------------------------------------------------------- objects


def obj(cls: type[R]) -> Decoder[R]:
    """A mapping decoded to a Record; all of its problems are reported, not only the first."""

    def decode(node: Node, place: Place) -> R:
        if not isinstance(node, Mapping):
            raise place.refuse(node, "a mapping")
        return _decode_record(cls, node, place)

    return decode


def _decode_record(cls: type[R], node: Mapping, place: Place) -> R:
    plan = plan_of(cls)
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    where = Places(place.source, node, plan.fields)
    for name, value in node.entries:
        if name.value not in plan.fields:
            problems += _other_field(cls, name, value, place)
        elif not _is_null(value):
            attribute, spec = plan.fields[name.value]
            try:
                values[attribute] = spec.decode(value, place.child(name.value))
            except Invalid as invalid:
                problems += invalid.problems
    for key, (attribute, spec) in plan.fields.items():
        if spec.required and attribute not in values and key not in where:
            problems.append(place.child(key).problem(node, "is required", "MissingField"))
    if problems:
        raise Invalid(problems)
    kept = where if cls.PLACES else {}
    made = cls(position=place.position(node), where=kept, **values)
    faults = [_fault(made, place, *fault) for fault in made.check()]
    if faults:
        raise Invalid(faults)
    return made


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.kind == "null"


def _fault(made: Record, place: Place, key: str, message: str) -> Problem:
    path = place.child(key).path if key else place.path
    return Problem(made.at(key), "error", "InvalidField", sentence(path, message))


def _other_field(cls: type[Record], name: Scalar, value: Node, place: Place) -> list[Problem]:
    """A field that is not decoded: unsupported, without effect, or unknown."""
    key = name.value
    child = place.child(key)
    if key in cls.IGNORED or (_is_null(value) and key in plan_of(cls).known):
        return []
    if key in cls.NOTED:
        note = f"{child.path} {cls.NOTED[key]}"
        place.notes.append(Problem(place.position(name), "info", "NoEffect", note))
        return []
    if key in cls.UNSUPPORTED:
        if isinstance(value, Sequence) and not value.items:
            return []
        return [child.problem(name, "is not supported yet", "NotSupported")]
    near = difflib.get_close_matches(key, plan_of(cls).known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known: {_listing(cls)}"
    return [child.problem(name, f"no such field{hint}", "UnknownField")]


def _listing(cls: type[Record]) -> str:
    fields = sorted(plan_of(cls).fields)
    return ", ".join(fields[:12]) + (" ..." if len(fields) > 12 else "")
