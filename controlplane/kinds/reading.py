"""How a mapping becomes a record: what every object of every manifest passes, so it is compiled.

A decoder takes (node, place) and returns a value or raises Invalid with every problem that it
found. `obj(cls)` is that of a record (controlplane.kinds.schema says what one is); what a class
declares is put together once, with its first object, as its Plan. Knows no kind.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from collections.abc import Mapping as MappingType
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple, TypeVar

from controlplane.kinds.yaml_nodes import Mapping, Node, Scalar, Sequence
from controlplane.mesh.position import Position

T = TypeVar("T")

_new: Final[Callable[[Any], Any]] = object.__new__
Setter = Callable[[Any, object], None]


class Problem(NamedTuple):
    """Something to say about one place of the text; becomes a Status."""

    position: Position
    severity: Literal["error", "warning", "info"]
    code: str
    message: str


class Invalid(Exception):
    """A node that the schema refuses. Caught where an object is read."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join([problem.message for problem in problems]))
        self.problems = problems


class Place:
    """Where a decoder stands: the source, the path of fields, and the notes made so far. The path
    is put together when somebody asks: most places are right."""

    __slots__ = ("_above", "_index", "_key", "notes", "source")

    def __init__(self, source: str, path: str, notes: list[Problem]) -> None:
        self.source = source
        self.notes = notes
        self._key = path
        self._index = -1
        self._above: Place | None = None

    @property
    def path(self) -> str:
        if self._above is None:
            return self._key
        above = self._above.path
        if self._index >= 0:
            return f"{above}[{self._index}]"
        return f"{above}.{self._key}" if above else self._key

    def child(self, key: str) -> Place:
        made = Place(self.source, key, self.notes)
        made._above = self
        return made

    def item(self, index: int) -> Place:
        made = Place(self.source, "", self.notes)
        made._above = self
        made._index = index
        return made

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


def sentence(path: str, message: str) -> str:
    """'spec.x is required', 'spec.x: expected ...'."""
    if not path:
        return message
    return f"{path} {message}" if message.startswith("is ") else f"{path}: {message}"


def is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.kind == "null"


# --------------------------------------------------------------------------- plans


class Spec:
    """A field of a record, as its class declares it. key: YAML's name, '' for that of the
    attribute in camelCase."""

    __slots__ = ("decode", "default", "key", "required")

    def __init__(self, decode: Decoder[Any], required: bool, key: str, default: object) -> None:
        self.decode = decode
        self.required = required
        self.key = key
        self.default = default


class Plan:
    """What a class of records declares. fields: by YAML's names, with the attribute. defaults: of
    all attributes, in their order; slots: who sets each of them. known: every name. values: what
    counts for equality. checks: it has rules between fields."""

    __slots__ = (
        "checks", "cls", "defaults", "fields", "known", "needed", "places", "slots", "values",
    )  # fmt: skip

    def __init__(self, cls: Any) -> None:
        self.cls: Any = cls
        self.fields: dict[str, tuple[str, Spec]] = {}
        self.defaults: dict[str, object] = {}
        self.needed: list[str] = []
        compared: list[str] = []
        for field in dataclasses.fields(cls):
            spec: Spec | None = field.metadata.get("weft")
            if spec is None:
                self.defaults[field.name] = field.default
                continue
            key = spec.key or _camel(field.name)
            self.fields[key] = (field.name, spec)
            self.defaults[field.name] = spec.default
            compared.append(field.name)
            if spec.required:
                self.needed.append(key)
        self.known = tuple(sorted({*self.fields, *cls.UNSUPPORTED, *cls.IGNORED, *cls.NOTED}))
        self.places: bool = cls.PLACES
        self.checks = sum("check" in base.__dict__ for base in cls.__mro__) > 1
        self.slots: list[tuple[str, Setter, object]] = [
            (name, getattr(cls, name).__set__, default) for name, default in self.defaults.items()
        ]
        self.values: Callable[[Any], object] = attrgetter(*compared) if compared else _nothing


def _nothing(record: object) -> tuple[()]:
    return ()


_plans: Final[dict[Any, Plan]] = {}


def plan_of(cls: Any) -> Plan:
    """That of a class of records, made when it is first asked for."""
    plan = _plans.get(cls)
    if plan is None:
        plan = _plans[cls] = Plan(cls)
    return plan


def _camel(name: str) -> str:
    head, *rest = name.removesuffix("_s").split("_")
    return head + "".join([part.capitalize() for part in rest])


# --------------------------------------------------------------------------- places of fields


class Places:
    """Where the fields of a record are, with the items of lists ('hosts[1]') and the entries of
    mappings ('labels.app'): looked up when somebody asks, as most are never asked for."""

    __slots__ = ("_fields", "_node", "_source")

    def __init__(self, source: str, node: Mapping, fields: dict[str, tuple[str, Spec]]) -> None:
        """fields: what is known; what is null is not there."""
        self._source = source
        self._node = node
        self._fields = fields

    def get(self, key: str) -> Position | None:
        for name, value in self._node.entries:
            known = name.value
            if key.startswith(known) and known in self._fields and not is_null(value):
                node = value if len(key) == len(known) else _inside(value, key[len(known) :])
                if node is not None:
                    return Position(self._source, node.line, node.column, node.path)
        return None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key) is not None

    def keys(self) -> set[str]:
        found: set[str] = set()
        for name, value in self._node.entries:
            if name.value in self._fields and not is_null(value):
                found.add(name.value)
                found.update(_keys(name.value, value))
        return found

    def __bool__(self) -> bool:
        return bool(self.keys())


NO_PLACES: Final = Places("", Mapping((), 0, 0), {})


def _keys(key: str, value: Node) -> list[str]:
    if isinstance(value, Sequence):
        return [f"{key}[{index}]" for index in range(len(value.items))]
    if isinstance(value, Mapping):
        return [f"{key}.{name.value}" for name, _ in value.entries]
    return []


def _inside(value: Node, rest: str) -> Node | None:
    """rest: '[1]' or '.app'."""
    if isinstance(value, Sequence) and rest[0] == "[" and rest[1:-1].isdigit():
        index = int(rest[1:-1])
        return value.items[index] if index < len(value.items) else None
    if isinstance(value, Mapping) and rest[0] == ".":
        return value.get(rest[1:])
    return None


# --------------------------------------------------------------------------- records


def obj(cls: type[T]) -> Decoder[T]:
    """A mapping decoded to a Record; all of its problems are reported, not only the first."""

    def decode(node: Node, place: Place) -> Any:
        if not isinstance(node, Mapping):
            raise place.refuse(node, "a mapping")
        return _decode(plan_of(cls), node, place)

    return decode


def _decode(plan: Plan, node: Mapping, place: Place) -> Any:
    problems: list[Problem] = []
    values: dict[str, object] = {}
    for name, value in node.entries:
        found = plan.fields.get(name.value)
        if found is None:
            problems += _other_field(plan, name, value, place)
        elif not is_null(value):
            try:
                values[found[0]] = found[1].decode(value, place.child(name.value))
            except Invalid as invalid:
                problems += invalid.problems
    for key in plan.needed:
        if plan.fields[key][0] not in values and _is_missing(node, key):
            problems.append(place.child(key).problem(node, "is required", "MissingField"))
    if problems:
        raise Invalid(problems)
    values["position"] = place.position(node)
    if plan.places:
        values["where"] = Places(place.source, node, plan.fields)
    made = _made(plan, values)
    return _checked(made, place) if plan.checks else made


def _made(plan: Plan, values: dict[str, object]) -> Any:
    """An object of the class, without its __init__: nothing is asked twice."""
    made = _new(plan.cls)
    for attribute, put, default in plan.slots:
        put(made, values.get(attribute, default))
    return made


def _checked(made: Any, place: Place) -> Any:
    faults = [_fault(made, place, key, message) for key, message in made.check()]
    if faults:
        raise Invalid(faults)
    return made


def _is_missing(node: Mapping, key: str) -> bool:
    value = node.get(key)
    return value is None or is_null(value)


def _fault(made: Any, place: Place, key: str, message: str) -> Problem:
    path = place.child(key).path if key else place.path
    return Problem(made.at(key), "error", "InvalidField", sentence(path, message))


def _other_field(plan: Plan, name: Scalar, value: Node, place: Place) -> list[Problem]:
    """A field that is not decoded: unsupported, without effect, or unknown."""
    key = name.value
    cls = plan.cls
    child = place.child(key)
    if key in cls.IGNORED or (is_null(value) and key in plan.known):
        return []
    noted: MappingType[str, str] = cls.NOTED
    if key in noted:
        note = f"{child.path} {noted[key]}"
        place.notes.append(Problem(place.position(name), "info", "NoEffect", note))
        return []
    if key in cls.UNSUPPORTED:
        if isinstance(value, Sequence) and not value.items:
            return []
        return [child.problem(name, "is not supported yet", "NotSupported")]
    near = difflib.get_close_matches(key, plan.known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known: {_listing(plan)}"
    return [child.problem(name, f"no such field{hint}", "UnknownField")]


def _listing(plan: Plan) -> str:
    fields = sorted(plan.fields)
    return ", ".join(fields[:12]) + (" ..." if len(fields) > 12 else "")
