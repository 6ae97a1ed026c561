"""`weft status`: services, proxies and configuration errors of a running mesh, once."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from weft import live, stats
from weft.management import Management
from weft.objects import STATE_DIR, asked
from weft.output import OUTPUT, Output, tree
from weft.view import MeshFacts, ProxyFacts
from weft.watch import ProxyRow

SPIFFE = "spiffe://"
WIDE = 100
# What a pipe gets is for grep: one line for each thing, however long.
PIPE_COLUMNS = 1000


@click.command(short_help="Show services, proxies and configuration errors.")
@click.option("--notes", is_flag=True, help="What has no effect, where keys come from, and so on.")
@OUTPUT
@STATE_DIR
def status(notes: bool, output: Output, state_dir: Path) -> None:
    """Show services, proxies and configuration errors of the running mesh.

    Exit code 1 when the configuration has errors or a proxy refused it.

    \b
    Examples:
      weft status --notes
      weft status -o json | jq '.objects[] | select(.severity == "error")'
    """
    facts = asked(state_dir, Management.status)
    if output == "table":
        columns = None if sys.stdout.isatty() else PIPE_COLUMNS
        show(facts, Console(width=columns), time.time(), notes=notes)
    else:
        tree(told(facts, notes=notes), output)
    bad = any(one.severity == "error" for one in facts.objects)
    sys.exit(1 if bad or any(proxy.nacks for proxy in facts.proxies) else 0)


def told(facts: MeshFacts, *, notes: bool = False) -> dict[str, Any]:
    """The same for programs, with the words of `weft proxies -o json`."""
    return {
        "version": facts.version,
        "services": [
            {
                "hostname": one.hostname,
                "namespace": one.namespace,
                "endpoints": {"total": one.endpoints_total, "healthy": one.endpoints_healthy},
                "reported": {"requests": one.requests, "errors": one.errors},
            }
            for one in facts.services
        ],
        "proxies": [
            {
                "workload": one.workload,
                "namespace": one.namespace,
                "identity": one.identity,
                "userAgent": one.user_agent,
                "state": one.state,
                "lastPush": _time(one.last_push_at),
                "nacks": list(one.nacks),
                "leftOut": list(one.left_out),
            }
            for one in facts.proxies
        ],
        "objects": [asdict(one) for one in facts.problems(notes)],
    }


def _time(at: float) -> str | None:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") if at else None


STYLES = {"error": "red", "warning": "yellow", "info": "dim"}


def show(facts: MeshFacts, console: Console, now: float, *, notes: bool = False) -> None:
    console.print(live.services_table(facts))
    console.print()
    console.print(_proxies(facts, now, wide=console.width >= WIDE))
    if domains := _trust_domains(facts):
        console.print(Text(f"\n  identities are in {', '.join(domains)}", "dim"))
    for proxy in facts.proxies:
        for nack in proxy.nacks:
            console.print(Text(f"  {proxy.workload} refused: {nack}", "red"))
        for patch in proxy.left_out:
            console.print(Text(f"  {proxy.workload} does without {patch}", "red"))
    for problem in facts.problems(notes):
        console.print(Text(f"  {problem}", STYLES[problem.severity]))


def _proxies(facts: MeshFacts, now: float, *, wide: bool) -> object:
    version = ("VERSION",) if wide else ()
    table = live.make_table("PROXY", "XDS", "PUSHED", *version, "IDENTITY")
    for proxy in facts.proxies:
        row = _row(proxy)
        table.add_row(
            f"{proxy.workload}.{proxy.namespace}",
            live.synced(row),
            live.ago(row, now),
            *((proxy.user_agent or "-",) if wide else ()),
            proxy.identity.removeprefix(SPIFFE).partition("/")[2] or "-",
        )
    return table


def _trust_domains(facts: MeshFacts) -> list[str]:
    found = {proxy.identity.removeprefix(SPIFFE).partition("/")[0] for proxy in facts.proxies}
    return sorted(f"{SPIFFE}{domain}/" for domain in found if domain)


def _row(proxy: ProxyFacts) -> ProxyRow:
    return ProxyRow(proxy.workload, "", 0, proxy, stats.Rates(), None)
