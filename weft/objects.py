"""`weft apply`, `get`, `delete` and `proxies`: a control plane's objects, as kubectl shows them.

Only the commands and how answers are shown; the calls are `weft.management`'s.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from weft.errors import UserError
from weft.management import Management
from weft.state import StateDir
from weft.view import AppliedFacts, ObjectFacts, RolloutFacts, StoredFacts, SyncFacts

T = TypeVar("T")
SUFFIXES = (".yaml", ".yml", ".json")
FILES = click.option(
    "-f", "--filename", "paths", multiple=True, required=True, metavar="FILE|DIR|-",
    type=click.Path(path_type=Path, allow_dash=True), help="Manifests; any number.",
)  # fmt: skip
STATE_DIR = click.option(
    "--state-dir", default=".weft", show_default=True, type=Path, help="Of the control plane."
)
NAMESPACE = click.option("-n", "--namespace", default="default", show_default=True)
OUTPUT = click.option(
    "-o", "--output", type=click.Choice(["table", "yaml", "json"]), default="table"
)
Output = Literal["table", "yaml", "json"]


def asked(state_dir: Path, ask: Callable[[Management], Awaitable[T]]) -> T:
    """What the control plane of this state directory answers."""

    async def work() -> T:
        management = Management.of(StateDir(state_dir))
        try:
            return await ask(management)
        finally:
            await management.close()

    return asyncio.run(work())


# --------------------------------------------------------------------------- apply


@click.command()
@FILES
@click.option("--dry-run", is_flag=True, help="Say what would be, change nothing.")
@click.option("--wait", is_flag=True, help="Until every proxy that it concerns has it.")
@click.option(
    "--timeout", "timeout_s", metavar="SECONDS", type=click.FloatRange(0.0, 600.0), default=30.0,
    show_default=True, help="Of --wait.",
)  # fmt: skip
@STATE_DIR
def apply(
    paths: tuple[Path, ...], dry_run: bool, wait: bool, timeout_s: float, state_dir: Path
) -> None:
    """Put manifests in force: all of a file, or none of it when one has an error.

    What files and Kubernetes have comes first and can't be changed here. What is applied lives as
    long as the control plane: what is to outlast it belongs into its --config directory.

    \b
    Exit code: 0 in force (with --wait: at every proxy that it concerns), 1 not, or not whole.

    \b
    Examples:
      weft apply -f route.yaml --wait
      weft apply -f mesh/ --dry-run
      cat route.yaml | weft apply -f -
    """
    if dry_run and wait:
        raise click.UsageError("--wait has nothing to wait for with --dry-run")
    texts = read_texts(paths)
    wait_s = timeout_s if wait else None

    async def put(management: Management) -> list[AppliedFacts]:
        return [
            await management.put(text, source, dry_run=dry_run, wait_s=wait_s)
            for source, text in texts.items()
        ]

    results = asked(state_dir, put)
    suffix = " (dry run)" if dry_run else ""
    good = [_shown(one, suffix, wait_s) for one in results]
    sys.exit(0 if all(good) else 1)


def read_texts(paths: Iterable[Path]) -> dict[str, str]:
    """The texts by the names of their files."""
    found: dict[str, str] = {}
    for path in paths:
        if str(path) == "-":
            found["stdin"] = _decoded("stdin", sys.stdin.buffer.read())
            continue
        files = [path] if not path.is_dir() else _manifests(path)
        for file in files:
            try:
                found[str(file)] = _decoded(str(file), file.read_bytes())
            except OSError as error:
                raise UserError(f"{file} can not be read: {error.strerror}") from None
    for name, text in found.items():
        if not text.strip():
            raise UserError(f"{name} is empty: there is nothing to apply")
    return found


def _manifests(folder: Path) -> list[Path]:
    found = sorted(one for one in folder.iterdir() if one.suffix in SUFFIXES and one.is_file())
    if not found:
        raise UserError(
            f"{folder} has no manifests: none of {', '.join(f'*{s}' for s in SUFFIXES)}"
        )
    return found


def _decoded(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8 (byte {error.start})") from None


def _shown(result: AppliedFacts, suffix: str, wait_s: float | None) -> bool:
    """Prints it; whether all is as it was asked for."""
    for kind, namespace, name, change in result.changes:
        click.echo(f"{kind} {namespace}/{name} {change}{suffix}")
    _say(result.statuses)
    good = bool(result.changes) and not _errors(result.statuses)
    if not result.changes:
        why = "nothing was changed: correct the errors and apply again"
        click.echo(
            why if _errors(result.statuses) else "there is no object of a mesh in it", err=True
        )
    if result.rollout is None:
        return good
    return _progress(result.rollout, wait_s or 0.0) and good


def _say(statuses: Iterable[ObjectFacts]) -> None:
    for one in statuses:
        if one.severity != "info":
            click.echo(str(one), err=True)


def _errors(statuses: Iterable[ObjectFacts]) -> bool:
    return any(one.severity == "error" for one in statuses)


def _progress(rollout: RolloutFacts, wait_s: float) -> bool:
    click.echo(f"live on {rollout.live} of {rollout.concerned} proxies")
    for node_id, why in rollout.refused:
        click.echo(f"{node_id} refused it: {why}", err=True)
    if not rollout.over:
        text = f"not everywhere after {wait_s:g} s; see `weft proxies`, or give a longer --timeout"
        click.echo(text, err=True)
    return rollout.over and not rollout.refused


# --------------------------------------------------------------------------- get, delete


@click.command()
@click.argument("kind")
@click.argument("name", required=False, default="")
@NAMESPACE
@click.option("-A", "--all-namespaces", is_flag=True)
@click.option("-l", "--selector", default="", metavar="K=V,...", help="Only with these labels.")
@OUTPUT
@STATE_DIR
def get(
    kind: str,
    name: str,
    namespace: str,
    all_namespaces: bool,
    selector: str,
    output: Output,
    state_dir: Path,
) -> None:
    """Show what is in force: of KIND (VirtualService, virtualservices, vs; `all` is every kind),
    where it comes from, and what is said of it.

    \b
    Examples:
      weft get vs
      weft get all -A
      weft get dr reviews -n shop -o yaml
    """
    labels = _labels(selector)
    where = "" if all_namespaces else namespace
    asked_kind = "" if kind == "all" else kind

    async def ask(management: Management) -> list[StoredFacts]:
        texts = output != "table"
        return await management.list_objects(asked_kind, where, name, labels, manifests=texts)

    found = asked(state_dir, ask)
    if not found and name:
        place = "any namespace" if all_namespaces else f"namespace {namespace}"
        raise UserError(f"there is no {kind} {name} in {place}; see: weft get {kind} -A")
    if output == "table":
        _table(("KIND", "NAMESPACE", "NAME", "SOURCE", "SAID", "AT"), map(_row, found))
    else:
        trees = [_tree(one) for one in found]
        _print(trees[0] if name and len(trees) == 1 else trees, output)


def _labels(selector: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in selector.split(",") if word]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise click.UsageError(f"--selector: expected K=V, got {key!r}")
    return {key: value.removeprefix("=") for key, _, value in pairs}


def _row(one: StoredFacts) -> tuple[str, ...]:
    counts = Counter(status.severity for status in one.statuses)
    said = [f"{counts[s]} {s}{'s' * (counts[s] > 1)}" for s in ("error", "warning") if counts[s]]
    return one.kind, one.namespace, one.name, one.source, ", ".join(said) or "-", one.position


def _tree(one: StoredFacts) -> dict[str, Any]:
    """The object as it was written, with what is known of it as its status."""
    import yaml

    header = {"kind": one.kind, "metadata": {"name": one.name, "namespace": one.namespace}}
    written = yaml.safe_load(one.manifest) if one.manifest else header
    said = [
        {
            "severity": status.severity,
            "code": status.code,
            "message": status.message,
            "position": status.position,
        }
        for status in one.statuses
    ]
    weft = {"source": one.source, "position": one.position, "statuses": said}
    return {**written, "status": {"weft": weft}}


@click.command()
@click.argument("kind")
@click.argument("name")
@NAMESPACE
@STATE_DIR
def delete(kind: str, name: str, namespace: str, state_dir: Path) -> None:
    """Delete an object that was applied.

    \b
    Example:
      weft delete vs reviews -n shop
    """

    async def ask(management: Management) -> tuple[bool, list[StoredFacts]]:
        existed = await management.delete(kind, namespace, name)
        return existed, await management.list_objects(kind, namespace, name, {})

    existed, left = asked(state_dir, ask)
    if existed:
        click.echo(f"{kind} {namespace}/{name} deleted")
        return
    if left:
        one = left[0]
        where = "in Kubernetes: use kubectl" if one.source == "kubernetes" else "in the file"
        raise UserError(
            f"{kind} {name} was not applied, it is at {one.position}; delete it {where}"
        )
    raise UserError(f"there is no {kind} {name} in namespace {namespace}; see: weft get {kind} -A")


# --------------------------------------------------------------------------- proxies


@click.command()
@OUTPUT
@STATE_DIR
def proxies(output: Output, state_dir: Path) -> None:
    """Show each connected proxy: what it has acknowledged of what it was sent, and refused.

    Exit code 1 when one refused something.
    """
    found = asked(state_dir, Management.proxies)
    if output == "table":
        _table(("PROXY", "NAMESPACE", "STATE", "XDS", "TYPES", "VERSION"), map(_proxy_row, found))
        for one in found:
            for nack in one.proxy.nacks:
                click.echo(f"{one.node_id} refused: {nack}", err=True)
    else:
        _print([_proxy_tree(one) for one in found], output)
    sys.exit(1 if any(one.proxy.nacks for one in found) else 0)


def _state(one: SyncFacts) -> str:
    if one.proxy.nacks:
        return "refused"
    return "synced" if one.proxy.synced else "on its way"


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]


def _proxy_row(one: SyncFacts) -> tuple[str, ...]:
    current = sum(each.sent == each.acked for each in one.types)
    name = one.proxy.workload or one.node_id
    types = f"{current}/{len(one.types)}"
    return name, one.proxy.namespace, _state(one), one.variant, types, one.proxy.user_agent or "-"


def _proxy_tree(one: SyncFacts) -> dict[str, Any]:
    return {
        "node": one.node_id,
        "namespace": one.proxy.namespace,
        "workload": one.proxy.workload,
        "identity": one.proxy.identity,
        "userAgent": one.proxy.user_agent,
        "state": _state(one),
        "nacks": list(one.proxy.nacks),
        "types": {
            _short(each.type_url): {
                "sent": each.sent,
                "acknowledged": each.acked,
                "resources": each.resources,
            }
            for each in one.types
        },
    }


# --------------------------------------------------------------------------- output


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns two spaces apart; the word for none goes to stderr, as kubectl does."""
    every = [heading, *rows]
    if len(every) == 1:
        click.echo("nothing found", err=True)
        return
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]
    for row in every:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _print(found: Mapping[str, Any] | list[dict[str, Any]], output: Output) -> None:
    import yaml

    if output == "json":
        click.echo(json.dumps(found, indent=2, default=str))
    elif isinstance(found, list):
        click.echo(yaml.safe_dump_all(found, sort_keys=False), nl=False)
    else:
        click.echo(yaml.safe_dump(found, sort_keys=False), nl=False)
