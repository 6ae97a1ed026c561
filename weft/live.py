"""The live status on a terminal: tables that stay at the bottom while lines scroll above them.

`render` is pure, so that `weft status` and the tests show the same thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from weft.report import colour_of
from weft.view import MeshFacts, ServiceFacts
from weft.watch import ProxyRow, View

PROBLEMS_SHOWN = 5
# The names of report.COLOURS' codes in rich's words.
STYLES = {
    36: "cyan", 35: "magenta", 34: "blue", 32: "green",
    33: "yellow", 96: "bright_cyan", 95: "bright_magenta", 94: "bright_blue",
}  # fmt: skip


class LiveReporter:
    """Lines go above the tables."""

    __slots__ = ("_console", "_live", "width")

    def __init__(self, console: Console, live: Live, width: int = 12) -> None:
        self._console = console
        self._live = live
        self.width = width

    def note(self, text: str) -> None:
        self._line(self._own(), text, "bold", "")

    def warn(self, text: str) -> None:
        self._line(self._own(), text, "bold", "yellow")

    def output(self, name: str, text: str) -> None:
        style = STYLES[colour_of(name)]
        self._line(name.rjust(self.width) + " │", Text.from_ansi(text), style, "")

    def show(self, view: View) -> None:
        self._live.update(render(view), refresh=True)

    def _own(self) -> str:
        return "weft".rjust(self.width) + " ∙"

    def _line(self, name: str, text: str | Text, name_style: str, style: str) -> None:
        line = Table.grid(padding=(0, 1))
        body = text if isinstance(text, Text) else Text(text, style)
        line.add_row(Text(name, name_style), body)
        self._console.print(line)


@contextmanager
def terminal() -> Iterator[LiveReporter]:
    """A reporter on this terminal; what was shown last stays when it ends."""
    console = Console()
    with Live(console=console, auto_refresh=False, redirect_stderr=False) as live:
        yield LiveReporter(console, live)


def render(view: View) -> RenderableType:
    """Everything in one block: links, services, proxies, problems."""
    links = [
        Text.assemble("  ", (f"{entry.service:<14}", "bold"), (entry.url, "underline"))
        for entry in view.entry_points
    ]
    title = Rule(Text(f" {view.directory} ", "bold"), style="dim", align="left")
    parts: list[RenderableType] = [Text(), title, *links, Text()]
    parts += [services_table(view.facts), Text(), proxies_table(view.proxies, view.now)]
    if found := problems(view.facts):
        parts += [Text(), *found]
    if view.control_plane:
        parts.append(Text(f"  {view.control_plane}; traffic goes on as configured", "yellow"))
    return Group(*parts, Text("\n  Ctrl-C stops everything", "dim"))


def make_table(*columns: str) -> Table:
    """A table without lines; the first column is to the left, numbers to the right. Where the
    terminal is narrow the first one, names, folds: numbers in pieces can not be read."""
    table = Table(box=None, padding=(0, 0, 0, 2), header_style="dim")
    for index, column in enumerate(columns):
        justify: JustifyMethod = "left" if index == 0 else "right"
        table.add_column(column, justify=justify, no_wrap=index > 0, overflow="fold")
    return table


def services_table(facts: MeshFacts) -> Table:
    """One row per service: how many of its endpoints take requests, and what clients report of
    theirs, where any does."""
    reported = any(service.requests for service in facts.services)
    table = make_table("SERVICE", "ENDPOINTS", *(("REPORTED", "FAILED") if reported else ()))
    for service in facts.services:
        numbers = (str(service.requests), str(service.errors)) if reported else ()
        table.add_row(service.hostname, _endpoints(service), *numbers)
    return table


def _endpoints(service: ServiceFacts) -> Text:
    healthy, total = service.endpoints_healthy, service.endpoints_total
    style = "green" if total and healthy == total else "yellow" if healthy else "red"
    return Text(f"{healthy}/{total}", style)


def proxies_table(rows: tuple[ProxyRow, ...], now: float) -> Table:
    """One row per process: the app's state, its proxy's configuration and traffic."""
    table = make_table("PROCESS", "APP", "PROXY", "PUSHED", "IN/S", "OUT/S", "5XX/S", "P50")
    for row in rows:
        table.add_row(
            row.name,
            _app(row),
            synced(row),
            ago(row, now),
            _rate(row.rates.inbound),
            _rate(row.rates.outbound),
            _rate(row.rates.errors, "bold red"),
            Text("-", "dim") if row.p50_ms is None else Text(f"{row.p50_ms:.1f} ms"),
        )
    return table


def _rate(value: float, style: str = "") -> Text:
    """What does not happen is hardly seen."""
    return Text(f"{value:.1f}", style if value else "dim")


def _app(row: ProxyRow) -> Text:
    """What a user calls the states of `process`."""
    running = "restarted" if row.restarts else "running"
    words = {"": "-", "waiting": "restarting", "running": running}
    again = f" {row.restarts}×" if row.restarts else ""
    style = "" if row.app in ("", "running") else "red"
    return Text(words.get(row.app, row.app) + again, style)


def synced(row: ProxyRow) -> Text:
    if row.facts is None:
        return Text("not connected", "red")
    if row.facts.nacks:
        return Text("refused", "red")
    return Text("synced", "green") if row.facts.synced else Text("syncing", "yellow")


def ago(row: ProxyRow, now: float) -> str:
    if row.facts is None or not row.facts.last_push_at:
        return "-"
    seconds = max(0.0, now - row.facts.last_push_at)
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"


def problems(facts: MeshFacts) -> list[Padding]:
    """Errors and warnings of the configuration, the first few."""
    found = facts.problems()
    styles = {"error": "red", "warning": "yellow"}
    lines = [Text(str(one), styles[one.severity]) for one in found[:PROBLEMS_SHOWN]]
    if len(found) > PROBLEMS_SHOWN:
        lines.append(Text(f"... and {len(found) - PROBLEMS_SHOWN} more: weft status", "dim"))
    return [Padding(line, (0, 2)) for line in lines]
