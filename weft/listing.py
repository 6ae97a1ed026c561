"""`weft get` and `proxies`: what a control plane has, as kubectl shows it.

Only the commands and how answers are shown; the calls are `weft.management`'s.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from weft.errors import UserError
from weft.management import Management
from weft.objects import NAMESPACE, STATE_DIR, asked, named
from weft.output import OUTPUT, Output, table, tree
from weft.view import StoredFacts, SyncFacts

HEADING = ("KIND", "NAMESPACE", "NAME", "SOURCE", "SAID", "AT")


@click.command(short_help="Show what is in force, and where it comes from.")
@click.argument("kind", metavar="KIND[/NAME]")
@click.argument("name", required=False, default="")
@NAMESPACE
@click.option("-A", "--all-namespaces", is_flag=True, help="In every namespace.")
@click.option("-l", "--selector", default="", metavar="K=V,...", help="Only with these labels.")
@click.option(
    "-w", "--watch", "follow", is_flag=True, help="Go on with what changes, until Ctrl-C."
)
@OUTPUT
@STATE_DIR
def get(
    kind: str,
    name: str,
    namespace: str,
    all_namespaces: bool,
    selector: str,
    follow: bool,
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
      weft get gateway/public
      weft get vs -w
    """
    if follow and output != "table":
        raise click.UsageError("--watch is shown as a table only")
    kind, name = named(kind, name)
    labels = _labels(selector)
    where = "" if all_namespaces else namespace
    asked_kind = "" if kind == "all" else kind

    if follow:
        query = (asked_kind, where, name, labels)
        asked(state_dir, lambda management: _follow(management, *query))
        return

    async def ask(management: Management) -> list[StoredFacts]:
        texts = output != "table"
        return await management.list_objects(asked_kind, where, name, labels, manifests=texts)

    found = asked(state_dir, ask)
    place = "any namespace" if all_namespaces else f"namespace {namespace}"
    if not found and name:
        raise UserError(f"there is no {kind} {name} in {place}; see: weft get {kind} -A")
    if output == "table":
        table(HEADING, map(_row, found), f"nothing found in {place}")
    else:
        trees = [_tree(one) for one in found]
        tree(trees[0] if name and len(trees) == 1 else trees, output)


async def _follow(
    management: Management, kind: str, namespace: str, name: str, labels: Mapping[str, str]
) -> None:
    """A table of what there is, then a line for each change."""
    there: list[StoredFacts] = []
    synced = False
    async for what, one in management.watch(kind, namespace, name, labels):
        if one is None:
            synced = True
            table((*HEADING, "CHANGE"), [(*_row(each), "-") for each in there])
        elif synced:
            click.echo("  ".join((*_row(one), what)))
        else:
            there.append(one)


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


# --------------------------------------------------------------------------- proxies


@click.command(short_help="Show what each proxy has acknowledged, and refused.")
@OUTPUT
@STATE_DIR
def proxies(output: Output, state_dir: Path) -> None:
    """Show each connected proxy: what it has acknowledged of what it was sent, and refused; how
    many clusters it holds (a sidecar holds those that it calls); which patches of EnvoyFilters it
    does without, as with them its configuration would not hold together.

    Exit code 1 when one refused something.

    \b
    Examples:
      weft proxies
      weft proxies -o json | jq -r '.[] | select(.state != "synced").node'
    """
    found = asked(state_dir, Management.proxies)
    if output == "table":
        heading = ("PROXY", "NAMESPACE", "STATE", "XDS", "TYPES", "CLUSTERS", "VERSION")
        table(heading, map(_proxy_row, found), "no proxy is connected")
        for one in found:
            for nack in one.proxy.nacks:
                click.echo(f"{one.node_id} refused: {nack}", err=True)
            for patch in one.proxy.left_out:
                click.echo(f"{one.node_id} does without {patch}", err=True)
    else:
        tree([_proxy_tree(one) for one in found], output)
    sys.exit(1 if any(one.proxy.nacks for one in found) else 0)


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]


def _proxy_row(one: SyncFacts) -> tuple[str, ...]:
    current = sum(each.sent == each.acked for each in one.types)
    name = one.proxy.workload or one.node_id
    types = f"{current}/{len(one.types)}"
    clusters = sum(each.resources for each in one.types if _short(each.type_url) == "Cluster")
    first = (name, one.proxy.namespace, one.proxy.state, one.variant, types)
    return (*first, str(clusters), one.proxy.user_agent or "-")


def _proxy_tree(one: SyncFacts) -> dict[str, Any]:
    return {
        "node": one.node_id,
        "namespace": one.proxy.namespace,
        "workload": one.proxy.workload,
        "identity": one.proxy.identity,
        "userAgent": one.proxy.user_agent,
        "state": one.proxy.state,
        "nacks": list(one.proxy.nacks),
        "leftOut": list(one.proxy.left_out),
        "types": {
            _short(each.type_url): {
                "sent": each.sent,
                "acknowledged": each.acked,
                "resources": each.resources,
            }
            for each in one.types
        },
    }
