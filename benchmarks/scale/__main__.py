"""How the control plane scales: 1,000 services with 20 endpoints, 1,000 proxies over mutual TLS.

    python -m benchmarks.scale [--services N] [--endpoints N] [--proxies N] [--on-demand]

The control plane is pinned to core 0, the fakes of proxies to core 1 (`fakes.py`). Each figure
stands beside its target; the time of a change is from the call of the management API to the last
proxy's ACK. Where the fakes use as much CPU as that time, it is they who are measured. Turns of
the control plane's loop are measured in CPU (`turns.py`), translation in this process
(`translation.py`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.scale import mesh, translation, turns
from benchmarks.scale.fleet import Fleet
from certs.store import load_store
from protos.gen.weft.v1 import management_pb2 as pb
from tests.support import compiled
from tests.support.control_plane import ControlPlane

CALLED = 5
"""Services that a proxy on demand calls."""
QUIET_S = 0.7
IDLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    value: str
    target: str = ""


class Run:
    def __init__(self, plane: ControlPlane, options: argparse.Namespace) -> None:
        self.plane = plane
        self.options = options
        self.figures: list[Figure] = []
        self.pid = int(plane.serving["pid"])
        self.turns = plane.state.parent / "turns"
        self._began_s = time.monotonic()

    def note(self, what: str, value: str, target: str = "") -> None:
        self.figures.append(Figure(what, value, target))
        print(f"{what:46} {value:>46}   {target}", flush=True)

    def begin(self) -> None:
        """A phase of which the turns are counted."""
        self._began_s = time.monotonic()

    def turn(self, what: str) -> None:
        longest_ms = turns.longest_ms(self.turns, self._began_s, time.monotonic())
        short = f"under {1000 * turns.TOLD_S:.0f} ms"
        self.note(f"{what}: longest turn", f"{longest_ms:.0f} ms" if longest_ms else short, "50 ms")

    def apply(self, manifest: str) -> None:
        self.plane.call("Apply", pb.ApplyRequest(manifest=manifest), pb.ApplyResponse)

    def change(
        self, what: str, fleet: Fleet, manifests: list[str], proxies: int, goal: str
    ) -> None:
        """Applies one after the other; each time waits until `proxies` have acknowledged."""
        times: list[float] = []
        told = fleet.do("tell")
        self.begin()
        cpu_s, fakes_s = machine.cpu_s(self.pid), fleet.cpu_s
        for manifest in manifests:
            fleet.do("reset")
            began_s = time.monotonic()
            self.apply(manifest)
            told = fleet.wait_for(None if proxies == fleet.proxies else proxies)
            times.append(1000 * (told.last_s - began_s))
            time.sleep(QUIET_S)
            told = fleet.do("tell")
        cpu_ms = 1000 * (machine.cpu_s(self.pid) - cpu_s) / len(manifests)
        fakes_ms = 1000 * (fleet.cpu_s - fakes_s) / len(manifests)
        middle, worst = statistics.median(times), max(times)
        used = f"CPU {cpu_ms:.0f} ms, fakes' {fakes_ms:.0f}"
        self.note(what, f"{middle:.0f} ms (max {worst:.0f}), {used}", goal)
        size = f"{told.responses} to {told.proxies} proxies, {told.bytes / 1e3:.1f} kB"
        self.note(f"{what}: responses", size, f"{proxies} proxies")
        self.turn(what)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=20)
    parser.add_argument("--proxies", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1, help="of fakes")
    parser.add_argument("--changes", type=int, default=7)
    parser.add_argument("--on-demand", action="store_true", help="proxies name what they call")
    options = parser.parse_args()
    print(f"weft: {compiled.use_if_ready()}")
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory, "mesh")
        config.mkdir()
        objects = mesh.write(config, options.services, options.endpoints, options.proxies)
        began_s = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.scale.turns", f"{directory}/turns"]
        plane = ControlPlane(
            *(config, Path(directory, "state"), "--log-level", "warning"),
            command=[*command, "controlplane"],
        )
        with plane:
            run = Run(plane, options)
            took = f"{time.monotonic() - began_s:.1f} s, CPU {machine.cpu_s(run.pid):.1f} s"
            run.note(f"cold start with {objects} objects", took, "5 s")
            _measure(run)
    for kind, middle_ms, worst_ms in translation.measure(
        options.services, options.endpoints, options.changes
    ):
        used = f"CPU {middle_ms:.1f} ms (max {worst_ms:.1f})"
        print(f"{f'translation of a changed {kind}':46} {used:>46}   {translation.GOAL}")
    return 0


def _measure(run: Run) -> None:
    options = run.options
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(run.pid, {cores[0]})
    for number in (mesh.MOVING, mesh.LONELY):
        run.apply(mesh.endpoints(number, options.endpoints))
        run.apply(mesh.rules(number))
    run.note("control plane, no proxy: RSS", f"{machine.rss_mb(run.pid):.0f} MB")
    cpu_s = machine.cpu_s(run.pid)
    time.sleep(IDLE_S)
    idle_ms = 1000 * (machine.cpu_s(run.pid) - cpu_s) / IDLE_S
    run.note("control plane, idle: CPU", f"{idle_ms:.0f} ms per second")
    authority = load_store(run.plane.state, time.time()).authority
    address, roots = run.plane.serving["mtls_address"], run.plane.root_pem
    calls = [_calls(number, options) for number in range(options.proxies)]
    with Fleet(address, roots, authority, calls, options.processes, cores[-1]) as fleet:
        _connect(run, fleet, "first connection of all proxies", "")
        run.note("control plane: RSS", f"{machine.rss_mb(run.pid):.0f} MB", "1000 MB")
        _changes(run, fleet)
        fleet.do("close")
        time.sleep(1.0)
        _connect(run, fleet, "reconnection of all proxies", "10 s")
        run.note("control plane: RSS", f"{machine.rss_mb(run.pid):.0f} MB", "1000 MB")


def _calls(number: int, options: argparse.Namespace) -> list[int] | None:
    if not options.on_demand:
        return None
    others = range(mesh.LONELY + 1, options.services)
    own = [others[(number * CALLED + step) % len(others)] for step in range(CALLED - 1)]
    return [mesh.MOVING, *own, *([mesh.LONELY] if number == 0 else [])]


def _connect(run: Run, fleet: Fleet, what: str, goal: str) -> None:
    fleet.do("reset")
    run.begin()
    began_s, cpu_s = time.monotonic(), machine.cpu_s(run.pid)
    fleet.do("open")
    took_s, cpu_s = time.monotonic() - began_s, machine.cpu_s(run.pid) - cpu_s
    time.sleep(QUIET_S)
    told = fleet.do("tell")
    run.note(what, f"{took_s:.1f} s, CPU {cpu_s:.1f} s, {told.bytes / 1e6:.1f} MB", goal)
    run.turn(what)


def _changes(run: Run, fleet: Fleet) -> None:
    count, everybody = run.options.endpoints, run.options.proxies
    steps = range(1, run.options.changes + 1)
    moved = [mesh.endpoints(mesh.MOVING, count, step) for step in steps]
    run.change("one endpoint changes", fleet, moved, everybody, "200 ms")
    routed = [mesh.rules(mesh.MOVING, step) for step in steps]
    run.change("a route changes", fleet, routed, everybody, "400 ms")
    if run.options.on_demand and run.options.processes == 1:
        alone = [mesh.endpoints(mesh.LONELY, count, step) for step in steps]
        run.change("a change for one proxy", fleet, alone, 1, "")
    if run.options.processes == 1:
        guarded = [mesh.access(mesh.LONELY, step) for step in steps]
        run.change("a policy of one workload", fleet, guarded, 1, "")


if __name__ == "__main__":
    sys.exit(main())
