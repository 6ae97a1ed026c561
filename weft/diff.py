"""`weft diff`: what applying manifests would change in the text of what is in force.

Only text is compared, key by key in the order of the alphabet; what a change means is told by
`weft apply --dry-run`.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from weft.errors import UserError
from weft.management import Management
from weft.objects import FILES, RECURSIVE, STATE_DIR, asked, read_texts
from weft.view import StoredFacts
from weft.written import Written, written

SAME, DIFFERENT, TROUBLE = 0, 1, 2


class Trouble(click.ClickException):
    """Why nothing was compared; as kubectl diff has it, 1 says that there is a difference."""

    exit_code = TROUBLE


@click.command(short_help="Show what `weft apply` would change.")
@FILES
@RECURSIVE
@STATE_DIR
def diff(paths: tuple[Path, ...], recursive: bool, state_dir: Path) -> None:
    """Show what `weft apply` of the same manifests would change.

    \b
    Exit code: 0 nothing, 1 something, 2 it could not be compared.

    \b
    Example:
      weft diff -f route.yaml
    """
    try:
        lines = _compared(read_texts(paths, recursive=recursive), state_dir)
    except UserError as error:
        raise Trouble(str(error)) from None
    for line in lines:
        click.echo(line)
    sys.exit(DIFFERENT if lines else SAME)


def _compared(texts: dict[str, str], state_dir: Path) -> list[str]:
    ours = [one for source, text in texts.items() for one in written(source, text)]

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
