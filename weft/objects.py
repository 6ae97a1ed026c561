"""`weft apply` and `delete`: a control plane's objects are changed, as kubectl does it.

Only the commands and how answers are shown; the calls are `weft.management`'s.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

import click

from weft.errors import UserError
from weft.management import Management
from weft.state import StateDir
from weft.view import AppliedFacts, DeletedFacts, ObjectFacts, RolloutFacts, StoredFacts
from weft.written import Written, written

T = TypeVar("T")
SUFFIXES = (".yaml", ".yml", ".json")
FILES = click.option(
    "-f", "--filename", "paths", multiple=True, required=True, metavar="FILE|DIR|-",
    type=click.Path(path_type=Path, allow_dash=True), help="Manifests; any number.",
)  # fmt: skip
STATE_DIR = click.option(
    "--state-dir", default=".weft", show_default=True, type=Path, metavar="DIR",
    help="Of the control plane.",
)  # fmt: skip
RECURSIVE = click.option(
    "-R", "--recursive", is_flag=True, help="Of a directory, also those below it."
)
WAIT = click.option("--wait", is_flag=True, help="Until every proxy that it concerns has it.")
TIMEOUT = click.option(
    "--timeout", "timeout_s", metavar="SECONDS", type=click.FloatRange(0.0, 600.0), default=30.0,
    show_default=True, help="Of --wait.",
)  # fmt: skip
NAMESPACE = click.option(
    "-n", "--namespace", default="default", show_default=True, metavar="NAME", help="Of the object."
)


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


@click.command(short_help="Put manifests in force, all of them or none.")
@FILES
@RECURSIVE
@click.option("--dry-run", is_flag=True, help="Say what would be, change nothing.")
@WAIT
@TIMEOUT
@STATE_DIR
def apply(
    paths: tuple[Path, ...],
    recursive: bool,
    dry_run: bool,
    wait: bool,
    timeout_s: float,
    state_dir: Path,
) -> None:
    """Put manifests in force: all objects in all of them, or none where one can't be read.

    What files and Kubernetes have comes first and can't be changed here. What is applied is kept
    in the control plane's store until it is deleted (in a mesh of `weft up`: until that ends). A
    reference to what is not there (a host, a subset) is an error that is told, and in force: its
    requests get 503 until it is there.

    \b
    Exit code:
      0  in force without an error (with --wait: at every proxy that it concerns)
      1  not, or not whole

    \b
    Examples:
      weft apply -f route.yaml --wait
      weft apply -f mesh/ -R --dry-run
      cat route.yaml | weft apply -f -
    """
    if dry_run and wait:
        raise click.UsageError("--wait has nothing to wait for with --dry-run")
    texts = read_texts(paths, recursive=recursive)
    wait_s = timeout_s if wait else None

    async def put(management: Management) -> AppliedFacts:
        return await management.apply(texts, dry_run=dry_run, wait_s=wait_s)

    good = _shown(asked(state_dir, put), " (dry run)" if dry_run else "", wait_s)
    sys.exit(0 if good else 1)


def read_texts(paths: Iterable[Path], *, recursive: bool = False) -> dict[str, str]:
    """The texts by the names of their files. recursive: of folders, also what is further below."""
    found: dict[str, str] = {}
    for path in paths:
        if str(path) == "-":
            found["stdin"] = _decoded("stdin", sys.stdin.buffer.read())
            continue
        files = _manifests(path, recursive) if path.is_dir() else [path]
        for file in files:
            try:
                found[str(file)] = _decoded(str(file), file.read_bytes())
            except OSError as error:
                raise UserError(f"{file} can not be read: {error.strerror}") from None
    for name, text in found.items():
        if not text.strip():
            raise UserError(f"{name} is empty: there is nothing to apply")
    return found


def _manifests(folder: Path, recursive: bool) -> list[Path]:
    """Hidden ones and editors' files left out, as the control plane does with its --config."""
    every = sorted(folder.rglob("*") if recursive else folder.iterdir())
    found = [one for one in every if _is_manifest(one.relative_to(folder)) and one.is_file()]
    if not found:
        deeper = not recursive and any(one.is_dir() for one in every)
        hint = "; with -R those of the folders in it are taken, too" if deeper else ""
        names = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
        raise UserError(f"{folder} has no manifests: none of {names}{hint}")
    return found


def _is_manifest(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix in SUFFIXES and not hidden and not path.name.startswith(("#", "~"))


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
    return progress(result.rollout, wait_s or 0.0) and good


def _say(statuses: Iterable[ObjectFacts]) -> None:
    for one in statuses:
        if one.severity != "info":
            click.echo(str(one), err=True)


def _errors(statuses: Iterable[ObjectFacts]) -> bool:
    return any(one.severity == "error" for one in statuses)


def progress(rollout: RolloutFacts, wait_s: float) -> bool:
    """Prints how far a change has come; whether it is everywhere."""
    if rollout.concerned:
        click.echo(f"live on {rollout.live} of {rollout.concerned} proxies")
    else:
        click.echo("live: no proxy has to change for it")
    for node_id, why in rollout.refused:
        click.echo(f"{node_id} refused it: {why}", err=True)
    if not rollout.over:
        text = f"not everywhere after {wait_s:g} s; see `weft proxies`, or give a longer --timeout"
        click.echo(text, err=True)
    return rollout.over and not rollout.refused


def named(kind: str, name: str) -> tuple[str, str]:
    """KIND NAME, or KIND/NAME as kubectl takes it, too."""
    word, slash, rest = kind.partition("/")
    if not slash:
        return kind, name
    if name or not word or not rest:
        raise click.UsageError(f"expected KIND NAME or KIND/NAME, got {f'{kind} {name}'.strip()!r}")
    return word, rest


# --------------------------------------------------------------------------- delete


@click.command(short_help="Delete what was applied.")
@click.argument("kind", required=False, metavar="[KIND[/NAME]]")
@click.argument("name", required=False)
@click.option(
    "-f", "--filename", "paths", multiple=True, metavar="FILE|DIR|-",
    type=click.Path(path_type=Path, allow_dash=True), help="What these manifests have.",
)  # fmt: skip
@RECURSIVE
@NAMESPACE
@WAIT
@TIMEOUT
@STATE_DIR
def delete(
    kind: str | None,
    name: str | None,
    paths: tuple[Path, ...],
    recursive: bool,
    namespace: str,
    wait: bool,
    timeout_s: float,
    state_dir: Path,
) -> None:
    """Delete an object that was applied, or those that manifests have.

    \b
    Exit code:
      0  gone (with --wait: at every proxy that it concerns)
      1  not, or not everywhere

    \b
    Examples:
      weft delete vs reviews -n shop --wait
      weft delete vs/reviews -n shop
      weft delete -f route.yaml
    """
    word, called = named(kind or "", name or "")
    if bool(paths) == bool(word and called) or (paths and word):
        raise click.UsageError("name what to delete: KIND and NAME, or manifests with -f")
    wait_s = timeout_s if wait else None
    if paths:
        texts = read_texts(paths, recursive=recursive)
        ours = [one for source, text in texts.items() for one in written(source, text)]
    else:
        ours = [Written(word, namespace, called, {"kind": word})]

    async def ask(management: Management) -> list[tuple[DeletedFacts, list[StoredFacts]]]:
        return [await _deleted(management, one, wait_s) for one in ours]

    good = True
    for one, (done, left) in zip(ours, asked(state_dir, ask), strict=True):
        if done.existed:
            click.echo(f"{one} deleted")
            good &= done.rollout is None or progress(done.rollout, wait_s or 0.0)
        else:
            good = False
            click.echo(f"weft: error: {_why_not(one, left)}", err=True)
    sys.exit(0 if good else 1)


async def _deleted(
    management: Management, one: Written, wait_s: float | None
) -> tuple[DeletedFacts, list[StoredFacts]]:
    """What became of it, and what there is of its name yet."""
    done = await management.delete(one.word, one.namespace, one.name, wait_s=wait_s)
    return done, await management.list_objects(one.word, one.namespace, one.name, {})


def _why_not(one: Written, left: list[StoredFacts]) -> str:
    """Why it was not deleted."""
    if left:
        there = left[0]
        where = "in Kubernetes: use kubectl" if there.source == "kubernetes" else "in the file"
        return f"{one} was not applied, it is at {there.position}; delete it {where}"
    kind = one.tree["kind"]
    return f"there is no {kind} {one.name} in namespace {one.namespace}; see: weft get {kind} -A"
