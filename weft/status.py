"""`weft status`: services, proxies and configuration errors of a running mesh, once."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from weft import live, stats
from weft.management import Management
from weft.state import StateDir
from weft.view import MeshFacts, ProxyFacts
from weft.watch import ProxyRow

SPIFFE = "spiffe://"
WIDE = 100
# What a pipe gets is for grep: one line for each thing, however long.
PIPE_COLUMNS = 1000


def status(state_dir: Path, notes: bool) -> int:
    """Prints it; exit code 0, or 1 when the configuration has errors or a proxy refused it. notes:
    what is neither error nor warning, too."""
    facts = asyncio.run(_ask(StateDir(state_dir)))
    columns = None if sys.stdout.isatty() else PIPE_COLUMNS
    show(facts, Console(width=columns), time.time(), notes=notes)
    bad = any(one.severity == "error" for one in facts.objects)
    return 1 if bad or any(proxy.nacks for proxy in facts.proxies) else 0


async def _ask(state: StateDir) -> MeshFacts:
    management = Management.of(state)
    try:
        return await management.status()
    finally:
        await management.close()


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
