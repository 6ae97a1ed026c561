"""`weft check`: what is wrong with YAML, before anything runs on it.

Only the command and how it is shown; what is found is `controlplane.analyze`'s.
"""

from __future__ import annotations

import gc
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, Protocol

import click

from weft.output import TEXT_OR_JSON, TextOrJson

STDIN = "-"
SEVERITIES = ("error", "warning", "info")
CLEAN, FOUND, USAGE = 0, 1, 2


class Place(Protocol):
    @property
    def source(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class Said(Protocol):
    """One status, as the control plane has it."""

    @property
    def position(self) -> Place: ...
    @property
    def severity(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def object(self) -> str: ...
    @property
    def message(self) -> str: ...


@click.command(short_help="Say what is wrong with manifests; nothing runs for it.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@TEXT_OR_JSON
@click.option(
    "--severity",
    type=click.Choice(SEVERITIES),
    default="warning",
    show_default=True,
    help="The least that is shown.",
)
@click.option("--strict", is_flag=True, help="Exit code 1 for warnings, too.")
@click.option("--trust-domain", default="cluster.local", show_default=True)
def check(
    paths: tuple[Path, ...],
    output: TextOrJson,
    severity: str,
    strict: bool,
    trust_domain: str,
) -> None:
    """Say what is wrong with the manifests in PATHS: files, directories, or - for standard input.

    All PATHS together are one mesh. Nothing runs and nobody is asked: it is read, translated and
    turned into what each proxy would get, as a control plane does.

    \b
    Exit code: 0 clean, 1 errors (--strict: or warnings), 2 nothing to check.

    \b
    Examples:
      weft check mesh/
      weft check --strict --severity info mesh/ new-route.yaml
      kustomize build overlay | weft check -
      weft check -o json mesh/ | jq '.statuses[].code'
    """
    from controlplane.analyze import analyze

    gc.disable()  # what is read stays to the end, and is much: to look through it costs a quarter
    try:
        manifests = _read(paths)
        _progress(f"weft: checking {len(manifests)} files ...")
        found = analyze(manifests, trust_domain, datetime.now(UTC))
    finally:
        gc.enable()
        _progress("")
    shown = SEVERITIES[: SEVERITIES.index(severity) + 1]
    statuses = [one for one in found.statuses if one.severity in shown]
    if output == "json":
        told = [_tree(one) for one in statuses]
        facts = {"statuses": told, "files": len(manifests), "objects": found.objects}
        click.echo(json.dumps(facts, indent=2))
    else:
        for one in statuses:
            click.echo(f"{one.position}: {one.severity}: {one.message} [{one.code}] ({one.object})")
        click.echo(_summary(found.statuses, shown, len(manifests), found.objects), err=True)
    bad = ("error", "warning") if strict else ("error",)
    sys.exit(FOUND if any(one.severity in bad for one in found.statuses) else CLEAN)


def _read(paths: Iterable[Path]) -> Mapping[str, Any]:
    """Everything that is to be checked, by the name of its source."""
    from controlplane.sources.files import MAX_BYTES, SUFFIXES, SourceError, parse_data, read_once

    manifests: dict[str, Any] = {}
    for path in paths:
        if str(path) == STDIN:
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
            if not data.strip():
                _refuse("standard input is empty: pipe manifests into it")
            manifests["stdin"] = parse_data("stdin", data)
            continue
        _progress(f"weft: reading {path} ...")
        try:
            found = read_once(path)
        except SourceError as error:
            _refuse(str(error))
        if not found:
            _refuse(f"{path} has no manifests: none of {', '.join(f'*{s}' for s in SUFFIXES)}")
        manifests |= found
    return manifests


def _progress(line: str) -> None:
    """For who waits at a terminal; the next takes its place."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{line}", nl=False, err=True)


class NothingToCheck(click.ClickException):
    exit_code = USAGE


def _refuse(message: str) -> NoReturn:
    raise NothingToCheck(message)


def _tree(one: Said) -> dict[str, object]:
    return {
        "file": one.position.source,
        "line": one.position.line,
        "column": one.position.column,
        "severity": one.severity,
        "code": one.code,
        "object": one.object,
        "message": one.message,
    }


def _summary(every: Iterable[Said], shown: Iterable[str], files: int, objects: int) -> str:
    counts = Counter(one.severity for one in every)
    words = {"error": "error", "warning": "warning", "info": "note"}
    told = [_count(counts[one], word) for one, word in words.items() if counts[one]]
    hidden = [one for one in words if counts[one] and one not in shown]
    hint = f" (--severity {hidden[-1]} shows all)" if hidden else ""
    place = f"in {_count(objects, 'object')} of {_count(files, 'file')}"
    return f"{', '.join(told) or 'no problems'} {place}{hint}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
