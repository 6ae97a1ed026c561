"""Manifest text -> typed objects and statuses. Pure; never raises.

`parse(text, source)` takes one or more YAML (or JSON) documents and Lists of objects. A document
that is wrong yields an error with its place and does not disturb the others. What failed is named
in `Parsed.failed`, so that a source can keep the last good version in force.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import field

from controlplane.kinds.json_nodes import compose_value
from controlplane.kinds.objects import Object, ObjectKey
from controlplane.kinds.registry import KINDS, class_of, is_foreign, versions_of
from controlplane.kinds.schema import Invalid, Place, Problem, obj
from controlplane.kinds.yaml_nodes import Mapping, Node, Scalar, Sequence, YamlError, compose_all
from controlplane.mesh.model import Position, Status
from protos.frozen import frozen


@frozen
class Parsed:
    """whole False: some text could not be attributed to any object. documents: all that was read,
    also of kinds that are nothing to a mesh."""

    objects: tuple[Object, ...] = ()
    statuses: tuple[Status, ...] = ()
    failed: frozenset[ObjectKey] = frozenset()
    whole: bool = True
    documents: tuple[Node, ...] = field(default=(), compare=False, repr=False)

    @property
    def has_errors(self) -> bool:
        return any(status.severity == "error" for status in self.statuses)


def parse(text: str, source: str, first_line: int = 1) -> Parsed:
    """Reads a manifest. A text that is not YAML yields no object at all, only the error.
    first_line: of the text, where it is only a part of the source."""
    try:
        documents = list(compose_all(text, first_line))
    except YamlError as error:
        position = Position(source, error.line, error.column)
        status = Status(position, "error", "ParseError", f"File {source}", error.message)
        return Parsed(statuses=(status,), whole=False)
    reader = _Reader(source)
    for document in documents:
        reader.read(document, "")
    return reader.result(tuple(documents))


def parse_value(value: object, source: str) -> Parsed:
    """Reads one object of an API, as JSON was read; positions are the paths of fields."""
    reader = _Reader(source)
    try:
        reader.read(compose_value(value), "")
    except YamlError as error:
        status = Status(Position(source), "error", "ParseError", source, error.message)
        return Parsed(statuses=(status,), whole=False)
    return reader.result()


class _Reader:
    def __init__(self, source: str) -> None:
        self._source = source
        self._objects: list[Object] = []
        self._statuses: list[Status] = []
        self._failed: set[ObjectKey] = set()
        self._whole = True

    def result(self, documents: tuple[Node, ...] = ()) -> Parsed:
        failed, said = frozenset(self._failed), tuple(self._statuses)
        return Parsed(tuple(self._objects), said, failed, self._whole, documents)

    def read(self, node: Node, path: str) -> None:
        place = Place(self._source, path, [])
        label = f"File {self._source}"
        try:
            if not isinstance(node, Mapping):
                raise place.refuse(node, "an object with apiVersion, kind and metadata")
            kind = _header(node, "kind", place)
            version = _header(node, "apiVersion", place)
            if kind == "List" and version == "v1":
                self._list(node, place)
                return
            key = _key(node, kind)
            label = str(key) if key else f"{kind} in {self._source}"
            self._object(node, version, kind, place, key)
        except Invalid as invalid:
            self._report(invalid.problems, label)
            self._whole = False
        self._report(place.notes, label)

    def _list(self, node: Mapping, place: Place) -> None:
        items = node.get("items")
        if not isinstance(items, Sequence):
            raise place.child("items").refuse(items or node, "a list of objects")
        for index, item in enumerate(items.items):
            self.read(item, f"{place.path and place.path + '.'}items[{index}]")

    def _object(
        self, node: Mapping, version: str, kind: str, place: Place, key: ObjectKey | None
    ) -> None:
        cls = class_of(version, kind, key)
        if cls is None:
            if not is_foreign(version, kind):
                raise Invalid([_unknown_kind(node, version, kind, place)])
            message = f"{kind} of {version} has no effect on the mesh"
            note = Problem(place.position(node), "info", "NoEffect", message)
            self._report([note], str(key) if key else f"{kind} in {self._source}")
            return
        if key is not None:
            key = key._replace(kind=cls.KIND or kind)
        try:
            made = obj(cls)(node, place)
        except Invalid as invalid:
            if key is None:
                raise
            self._failed.add(key)
            self._report(invalid.problems, str(key))
            return
        self._objects.append(made)
        if cls.ABOUT:
            note = Problem(made.position, "info", "NoEffect", cls.ABOUT)
            self._report([note], str(made.key))

    def _report(self, problems: list[Problem], label: str) -> None:
        for problem in problems:
            position, severity, code, message = problem
            self._statuses.append(Status(position, severity, code, label, message))


def _header(node: Mapping, key: str, place: Place) -> str:
    value = node.get(key)
    if value is None:
        raise Invalid([place.child(key).problem(node, "is required", "MissingField")])
    if not isinstance(value, Scalar) or value.kind != "string":
        raise place.child(key).refuse(value, "a string")
    return value.value


def _key(node: Mapping, kind: str) -> ObjectKey | None:
    """Which object this is meant to be, as far as its metadata says so."""
    metadata = node.get("metadata")
    if not isinstance(metadata, Mapping):
        return None
    words = dict(_strings(metadata))
    if not words.get("name"):
        return None
    return ObjectKey(kind, words.get("namespace") or "default", words["name"])


def _strings(node: Mapping) -> Iterator[tuple[str, str]]:
    for name, value in node.entries:
        if isinstance(value, Scalar) and value.kind == "string":
            yield name.value, value.value


def _unknown_kind(node: Mapping, version: str, kind: str, place: Place) -> Problem:
    known = versions_of(kind)
    named = f"apiVersion {version!r} kind {kind!r}"
    if known:
        message = f"{named} is not supported; {kind} is known as {', '.join(known)}"
    else:
        near = difflib.get_close_matches(kind, sorted({name for _, name in KINDS}), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        message = f"{named} is not supported{hint}"
    return place.problem(node.get("kind") or node, message, "UnknownKind")
