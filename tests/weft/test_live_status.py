"""What the live status says, as text."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from weft.live import render
from weft.mesh import EntryPoint
from weft.stats import Rates
from weft.status import show
from weft.view import MeshFacts, ObjectFacts, ProxyFacts, ServiceFacts
from weft.watch import ProxyRow, View

PROXY = ProxyFacts(
    "greeter", "default", "spiffe://cluster.local/ns/default/sa/greeter", "weft 0.1.0", True, 90.0
)
ERROR = ObjectFacts("VirtualService default/m", "error", "no such host", "routes.yaml:3:5")
WARNING = ObjectFacts("VirtualService default/m", "warning", "never matches", "routes.yaml:9:5")
INFO = ObjectFacts("Deployment default/m", "info", "not used", "m.yaml:1:1")
FACTS = MeshFacts(
    "abc",
    (
        ServiceFacts("greeter.default.svc.cluster.local", "default", 1, 1),
        ServiceFacts("messenger.default.svc.cluster.local", "default", 2, 0),
    ),
    (PROXY,),
    (WARNING, INFO, ERROR),
)
ROW = ProxyRow("greeter", "running", 0, PROXY, Rates(12.3, 4.0, 0.5), 2.05)
VIEW = View(
    now=100.0,
    directory="examples/postcard",
    entry_points=(EntryPoint("greeter", "greeter.localhost", 8080),),
    facts=FACTS,
    proxies=(ROW,),
)


def text(view: View, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(render(view))
    return console.export_text()


def lines(view: View) -> list[list[str]]:
    return [line.split() for line in text(view).splitlines()]


def test_links_services_proxies_and_problems_are_there() -> None:
    found = lines(VIEW)
    assert ["greeter", "http://greeter.localhost:8080/"] in found
    assert ["greeter.default.svc.cluster.local", "1/1"] in found
    assert ["messenger.default.svc.cluster.local", "0/2"] in found
    row = ["greeter", "running", "synced", "10", "s", "ago", "12.3", "4.0", "0.5", "2.0", "ms"]
    assert row in found or [*row[:-2], "2.1", "ms"] in found


def test_80_columns_hold_a_row_and_long_names_fold_instead_of_the_numbers() -> None:
    name = "messenger-v1-2"
    row = replace(ROW, name=name, restarts=1)
    cells = ["synced", "10", "s", "ago", "12.3", "4.0", "0.5"]
    shown = [line.split() for line in text(replace(VIEW, proxies=(row,)), 80).splitlines()]
    assert any(line[:3] == [name, "restarted", "1×"] and line[3:10] == cells for line in shown)
    long = replace(row, name="a-name-of-many-words-" * 3)
    shown = [line.split() for line in text(replace(VIEW, proxies=(long,)), 80).splitlines()]
    assert any(line[1:3] == ["restarted", "1×"] and line[3:10] == cells for line in shown)


def test_errors_come_before_warnings_and_infos_are_left_out() -> None:
    shown = text(VIEW)
    assert shown.index("routes.yaml:3:5: error: no such host") < shown.index("routes.yaml:9:5")
    assert "m.yaml" not in shown


def test_notes_come_last_and_only_if_they_are_asked_for() -> None:
    for notes in (False, True):
        console = Console(file=io.StringIO(), width=200, record=True)
        show(FACTS, console, now=100.0, notes=notes)
        shown = console.export_text()
        assert ("m.yaml" in shown) == notes
    assert shown.index("m.yaml") > shown.index("routes.yaml:9:5")


def test_many_problems_are_counted() -> None:
    many = tuple(replace(ERROR, position=f"r.yaml:{line}:1") for line in range(1, 10))
    assert "... and 4 more: weft status" in text(replace(VIEW, facts=MeshFacts(objects=many)))


def test_a_proxy_that_is_not_connected_or_refused_is_said_so() -> None:
    refused = replace(ROW, facts=replace(PROXY, nacks=("bad regex",)))
    missing = replace(ROW, facts=None, app="waiting", restarts=2)
    assert "refused" in text(replace(VIEW, proxies=(refused,)))
    shown = text(replace(VIEW, proxies=(missing,)))
    assert "not connected" in shown
    assert "restarting 2×" in shown
    assert "restarted 1×" in text(replace(VIEW, proxies=(replace(ROW, restarts=1),)))


def test_a_silent_control_plane_is_said_and_the_last_facts_stay() -> None:
    shown = text(replace(VIEW, control_plane="the control plane does not answer"))
    assert "the control plane does not answer; traffic goes on" in shown
    assert "greeter.default.svc" in shown


def test_status_shows_identities_and_every_problem() -> None:
    console = Console(file=io.StringIO(), width=140, record=True)
    show(FACTS, console, now=100.0)
    shown = console.export_text()
    assert "ns/default/sa/greeter" in shown
    assert "identities are in spiffe://cluster.local/" in shown
    assert "routes.yaml:3:5: error: no such host (VirtualService default/m)" in shown
