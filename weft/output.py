"""What commands print for people and for programs: tables, YAML and JSON, the same everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import click

OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "yaml", "json"]),
    default="table",
    help="For people, or for programs.",
)
TEXT_OR_JSON = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    help="For people, or for programs.",
)
Output = Literal["table", "yaml", "json"]
TextOrJson = Literal["text", "json"]


def table(
    heading: Sequence[str], rows: Iterable[Sequence[str]], none: str = "nothing found"
) -> None:
    """Columns two spaces apart; the words for none go to stderr, as kubectl does."""
    every = [heading, *rows]
    if len(every) == 1:
        click.echo(none, err=True)
        return
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]
    for row in every:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def tree(found: Mapping[str, Any] | list[dict[str, Any]], output: Output) -> None:
    """A list is one document of JSON, and several of YAML."""
    import yaml

    if output == "json":
        click.echo(json.dumps(found, indent=2, default=str))
    elif isinstance(found, list):
        click.echo(yaml.safe_dump_all(found, sort_keys=False), nl=False)
    else:
        click.echo(yaml.safe_dump(found, sort_keys=False), nl=False)
