"""`python -m benchmarks.http2 [--kind grpc]`: Weft and Envoy as an HTTP/2 proxy, side by side.

8 connections with 8 streams each, HTTP/2 on both sides, path and trace id different in every
request (`h2_peers`). One worker on core 0; load and upstream share core 1. What counts is CPU per
request of the pinned process; how to read the table: benchmarks/README.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import click

from benchmarks import load, machine, report
from benchmarks.contenders import CONTENDERS, Place
from benchmarks.report import Sample
from tests.support import compiled

PROXY_CORE = 0
LOAD_CORE = 1
NAMES = ("weft", "envoy")
RESULTS = Path(__file__).with_name("results")


@click.command()
@click.option("--kind", default="http2", type=click.Choice(["http2", "grpc"]), show_default=True)
@click.option("--only", default=",".join(NAMES), help="who runs, comma separated")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--duration", default=5, show_default=True, help="counted seconds per run")
@click.option("--connections", default=8, show_default=True, type=click.IntRange(1))
@click.option("--streams", default=8, show_default=True, type=click.IntRange(1))
def main(kind: str, only: str, rounds: int, duration: int, connections: int, streams: int) -> None:
    """Measure HTTP/2 (or unary gRPC calls) beside Envoy on this machine."""
    click.echo(f"weft: {compiled.use_if_ready()}")
    if (os.cpu_count() or 1) < 2:
        raise click.ClickException("needs two cores: one for the proxy, one for the load")
    samples = []
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as name:
        folder = Path(name)
        port = load.free_port()
        serving = machine.start(_peer("serve", port, kind), LOAD_CORE, folder / "upstream.out")
        try:
            for number in range(rounds):
                for contender in only.split(","):
                    place = Place(load.free_port(), load.free_port(), port, folder, "http2")
                    arguments = (kind, connections, streams, duration)
                    samples.append(_one(contender, number, place, arguments))
        finally:
            _stop(serving)
    _finish(kind, samples)


def _peer(role: str, port: int, kind: str, *more: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.h2_peers", role, str(port), kind, *map(str, more)]


def _one(name: str, number: int, place: Place, arguments: tuple[str, int, int, int]) -> Sample:
    kind, connections, streams, duration = arguments
    child = machine.start(CONTENDERS[name](place), PROXY_CORE, place.folder / f"{name}.out")
    began = time.perf_counter()
    try:
        load.wait_ready(place.port, child)
        ready_ms = (time.perf_counter() - began) * 1e3
        _drive(place.port, kind, connections, streams, 2)
        before, began = machine.cpu_s(child.pid), time.perf_counter()
        counted = _drive(place.port, kind, connections, streams, duration)
        cpu_s, wall_s = machine.cpu_s(child.pid) - before, time.perf_counter() - began
        sample = Sample(
            contender=name,
            round=number,
            requests=int(counted["requests"]),
            requests_per_s=counted["requests"] / counted["duration_s"],
            cpu_us=cpu_s / max(counted["requests"], 1) * 1e6,
            p50_ms=counted["p50_ms"],
            p99_ms=counted["p99_ms"],
            rss_mb=machine.rss_mb(child.pid),
            ready_ms=ready_ms,
            core_share=cpu_s / wall_s,
            failed=int(counted["failed"]),
        )
        print(
            f"round {number + 1} {name:6} {sample.requests_per_s:8.0f} requests/s "
            f"{sample.cpu_us:6.1f} us/request (core {sample.core_share:.0%} busy)",
            file=sys.stderr,
            flush=True,
        )
        return sample
    finally:
        _stop(child)


def _drive(port: int, kind: str, connections: int, streams: int, duration: int) -> dict[str, float]:
    done = subprocess.run(
        _peer("load", port, kind, connections, streams, duration),
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CORE}),
    )
    counted: dict[str, float] = json.loads(done.stdout)
    return counted


def _finish(kind: str, samples: list[Sample]) -> None:
    table = report.table(samples)
    print(f"\n{kind}\n\n{table}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / time.strftime(f"{kind}-%Y%m%d-%H%M%S.json")
    record = {"machine": machine.describe(), "samples": [asdict(each) for each in samples]}
    path.write_text(json.dumps(record, indent=1))
    path.with_suffix(".md").write_text(table + "\n")
    if any(sample.failed for sample in samples):
        raise click.ClickException("requests failed: the rows mean nothing")


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


if __name__ == "__main__":
    main()
