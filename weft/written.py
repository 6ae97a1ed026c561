"""Objects as they stand in a user's manifests: what they are called, and their trees.

It knows no kind: what an object means, the control plane says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from weft.errors import UserError


@dataclass(frozen=True, slots=True)
class Written:
    """An object of a manifest. word: its kind with its group, as the control plane takes it."""

    word: str
    namespace: str
    name: str
    tree: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.tree['kind']} {self.namespace}/{self.name}"


def written(source: str, text: str) -> Iterator[Written]:
    """Each object, those of a List one by one. Raises UserError with the place."""
    import yaml

    try:
        documents = [one for one in yaml.safe_load_all(text) if one is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "it can not be read"
        raise UserError(f"{source}{line}: not YAML: {reason}") from None
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == "List":
            for item in document.get("items") or ():
                yield _written(source, item)
        else:
            yield _written(source, document)


def _written(source: str, tree: Any) -> Written:
    try:
        kind, version, metadata = tree["kind"], tree["apiVersion"], tree["metadata"]
        name, namespace = metadata["name"], metadata.get("namespace") or "default"
        group = version.rpartition("/")[0]
    except (TypeError, KeyError, AttributeError):
        reason = "an object needs apiVersion, kind and metadata.name"
        raise UserError(f"{source}: {reason}") from None
    return Written(f"{kind}.{group}" if group else str(kind), str(namespace), str(name), tree)
