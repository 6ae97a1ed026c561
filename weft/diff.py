"""`weft diff`: what applying manifests would change in the text of what is in force.

Only text is compared, key by key in the order of the alphabet; what a change means is told by
`weft apply --dry-run`.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from weft.errors import UserError
from weft.management import Management
from weft.objects import FILES, STATE_DIR, asked, read_texts
from weft.view import StoredFacts

SAME, DIFFERENT, TROUBLE = 0, 1, 2


class Trouble(click.ClickException):
    """Why nothing was compared; as kubectl diff has it, 1 says that there is a difference."""

    exit_code = TROUBLE


@dataclass(frozen=True, slots=True)
class Written:
    """An object of a manifest. word: its kind with its group, as the control plane takes it."""

    word: str
    namespace: str
    name: str
    tree: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.tree['kind']} {self.namespace}/{self.name}"


@click.command()
@FILES
@STATE_DIR
def diff(paths: tuple[Path, ...], state_dir: Path) -> None:
    """Show what `weft apply` of the same manifests would change.

    \b
    Exit code: 0 nothing, 1 something, 2 it could not be compared.

    \b
    Example:
      weft diff -f route.yaml
    """
    try:
        lines = _compared(read_texts(paths), state_dir)
    except UserError as error:
        raise Trouble(str(error)) from None
    for line in lines:
        click.echo(line)
    sys.exit(DIFFERENT if lines else SAME)


def _compared(texts: dict[str, str], state_dir: Path) -> list[str]:
    ours = [one for source, text in texts.items() for one in _objects(source, text)]

    async def ask(management: Management) -> list[list[StoredFacts]]:
        return [
            await management.list_objects(one.word, one.namespace, one.name, {}, manifests=True)
            for one in ours
        ]

    return [
        line
        for one, there in zip(ours, asked(state_dir, ask), strict=True)
        for line in _differences(one, there)
    ]


def _objects(source: str, text: str) -> Iterator[Written]:
    try:
        documents = [one for one in yaml.safe_load_all(text) if one is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "it can not be read"
        raise Trouble(f"{source}{line}: not YAML: {reason}") from None
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
        raise Trouble(f"{source}: {reason}") from None
    return Written(f"{kind}.{group}" if group else str(kind), str(namespace), str(name), tree)


def _differences(one: Written, there: list[StoredFacts]) -> Iterator[str]:
    """Lines of a unified diff; none where the texts say the same."""
    if there and not there[0].manifest:
        where = f"in {there[0].source} at {there[0].position}"
        raise Trouble(f"{one} is {where}, and its text is not told; compare it there")
    old = _lines(yaml.safe_load(there[0].manifest)) if there else []
    before = f"{one} ({there[0].position})" if there else "/dev/null"
    return difflib.unified_diff(old, _lines(one.tree), before, str(one), lineterm="")


def _lines(tree: dict[str, Any]) -> list[str]:
    metadata = {"namespace": "default", **tree["metadata"]}
    text = yaml.safe_dump({**tree, "metadata": metadata}, sort_keys=True)
    return text.splitlines()
