"""YAML that remembers where each value was written, for errors with file:line:column.

It reads what the laptop mesh itself needs (processes to run, names to show). The mesh's own
configuration is read by the control plane; this module knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from weft.errors import UserError

SUFFIXES = (".yaml", ".yml", ".json")


class ManifestError(UserError):
    """A manifest does not parse or a field is wrong; the text begins with file:line:column."""


@dataclass(frozen=True, slots=True)
class Field:
    """A place in a document: its path from the top, and its node (None: it is not there)."""

    source: str
    path: str
    node: yaml.Node | None
    parent: yaml.Node | None = None

    @property
    def position(self) -> str:
        """file:line:column of the value, or of what it is missing from."""
        node = self.node or self.parent
        if node is None:
            return self.source
        return f"{self.source}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def error(self, message: str) -> ManifestError:
        where = f"{self.position}: {self.path}: " if self.path else f"{self.position}: "
        return ManifestError(where + message)

    def get(self, *keys: str) -> Field:
        """The field below, `get('spec', 'replicas')`; a wrong kind of parent is an error."""
        field = self
        for key in keys:
            field = field._child(key)
        return field

    def _child(self, key: str) -> Field:
        path = f"{self.path}.{key}" if self.path else key
        if self.missing:
            return Field(self.source, path, None, self.node or self.parent)
        for name, node in self._pairs():
            if name == key:
                return Field(self.source, path, node, self.node)
        return Field(self.source, path, None, self.node)

    @property
    def missing(self) -> bool:
        """True where the field is absent or null."""
        node = self.node
        return node is None or node.tag == "tag:yaml.org,2002:null"

    def _pairs(self) -> Iterator[tuple[str, yaml.Node]]:
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error(f"expected a mapping, found {_kind(self.node)}")
        for key, value in self.node.value:
            yield str(key.value), value

    def items(self) -> list[Field]:
        """The elements of a list; none where the field is missing."""
        if self.missing:
            return []
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error(f"expected a list, found {_kind(self.node)}")
        return [
            Field(self.source, f"{self.path}[{index}]", node, self.node)
            for index, node in enumerate(self.node.value)
        ]

    def text(self, default: str | None = None) -> str:
        """A scalar as it was written; without a default it must be there."""
        if self.missing:
            if default is None:
                raise self.error("is required")
            return default
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.error(f"expected a string, found {_kind(self.node)}")
        return str(self.node.value)

    def string(self, default: str | None = None) -> str:
        """A scalar that YAML itself reads as a string (Kubernetes refuses `value: 1`)."""
        value = self.text(default)
        if self.node is not None and not self.missing and self.node.tag != _STRING:
            raise self.error(f"expected a string, found {value} (write it in quotes)")
        return value

    def integer(self, default: int) -> int:
        value = self.text(str(default))
        try:
            return int(value)
        except ValueError:
            raise self.error(f"expected a whole number, found {value!r}") from None

    def strings(self) -> Mapping[str, str]:
        """A mapping of strings to strings, such as labels."""
        if self.missing:
            return {}
        return {name: self._child(name).string("") for name, _ in self._pairs()}


_STRING = "tag:yaml.org,2002:str"


def _kind(node: yaml.Node | None) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return f"{node.value!r}" if isinstance(node, yaml.ScalarNode) else "nothing"


def read_directory(directory: Path) -> list[Field]:
    """Every document of every manifest below `directory`, files in order of their paths, hidden
    ones left out: what the control plane reads too."""
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "does not exist"
        raise UserError(f"{directory} {what}; name a directory with Kubernetes YAML")
    return [document for file in manifests(directory) for document in read_file(file)]


def manifests(directory: Path) -> list[Path]:
    """The files that `read_directory` reads."""
    files = sorted(path for path in directory.rglob("*") if path.suffix in SUFFIXES)
    return [file for file in files if not _is_hidden(file.relative_to(directory))]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def read_file(file: Path) -> list[Field]:
    """The documents of one file; empty ones are left out, a Kubernetes List is its items."""
    try:
        text = file.read_text(encoding="utf-8")
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        raise ManifestError(_syntax_error(file, error)) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ManifestError(f"{file}: cannot be read: {' '.join(str(error).split())}") from error
    documents = (Field(str(file), "", node) for node in nodes)
    return [one for document in documents if not document.missing for one in _unfold(document)]


def _unfold(document: Field) -> list[Field]:
    if not isinstance(document.node, yaml.MappingNode):
        raise document.error(f"expected a mapping, found {_kind(document.node)}")
    if document.get("kind").text("") == "List":
        return document.get("items").items()
    return [document]


def _syntax_error(file: Path, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
    context = f" {error.context}" if error.context else ""
    return f"{where}: not YAML: {error.problem}{context}"
