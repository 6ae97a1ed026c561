"""`python -m benchmarks.http1`: Weft, Envoy, nginx and HAProxy in turn as an HTTP/1.1 proxy.

`--feature` has Weft and Envoy do more than forwarding (benchmarks/features.py).

Each has one worker pinned to core 0; load and upstream share core 1. The rounds are interleaved, so
that a disturbed minute hits everybody. What it prints and how to read it: benchmarks/README.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from benchmarks import contenders, load, machine, report
from benchmarks.contenders import CONTENDERS, NotInstalled, Place
from benchmarks.features import ALL, VHOSTS
from benchmarks.report import Sample
from tests.support import compiled

PROXY_CORE = 0
LOAD_CORE = 1
QUIET_LOAD_AVERAGE = 0.7
ONE_UPSTREAM = [name for name in ALL if name != "http2"]  # nginx is an HTTP/1 upstream
RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True)
class Plan:
    feature: str
    names: tuple[str, ...]
    rounds: int
    duration_s: int
    warmup_s: int
    connections: int


@click.command()
@click.option(
    "--feature",
    default="router",
    show_default=True,
    type=click.Choice([*ONE_UPSTREAM, "each"]),
    help="what the proxies do beside forwarding",
)
@click.option("--only", default=",".join(CONTENDERS), help="who runs, comma separated")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--duration", default=5, show_default=True, help="counted seconds per run")
@click.option(
    "--warmup", default=2, show_default=True, type=click.IntRange(1), help="seconds before counting"
)
@click.option("--connections", default=32, show_default=True, type=click.IntRange(1))
def main(
    feature: str, only: str, rounds: int, duration: int, warmup: int, connections: int
) -> None:
    """Measure proxies side by side on this machine."""
    click.echo(f"weft: {compiled.use_if_ready()}")
    names = tuple(name.strip() for name in only.split(","))
    if unknown := set(names) - set(CONTENDERS):
        raise click.ClickException(f"unknown proxy {', '.join(unknown)}; known: {list(CONTENDERS)}")
    if (os.cpu_count() or 1) < 2:
        raise click.ClickException("needs two cores: one for the proxy, one for the load")
    if (load_average := os.getloadavg()[0]) > QUIET_LOAD_AVERAGE:
        print(
            f"load average {load_average:.1f}: others use this machine; trust the ratios only, and "
            "not much",
            file=sys.stderr,
        )
    if feature != "router":  # what nginx and HAProxy would do instead is not the same work
        names = tuple(name for name in names if name in ("weft", "envoy"))
    for each in ONE_UPSTREAM if feature == "each" else [feature]:
        _measure(Plan(each, names, rounds, duration, warmup, connections))


def _measure(plan: Plan) -> None:
    print(f"== {plan.feature}", file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
            samples = _all_rounds(plan, Path(folder))
    except NotInstalled as missing:
        raise click.ClickException(str(missing)) from None
    _finish(plan, samples)


def _all_rounds(plan: Plan, folder: Path) -> list[Sample]:
    os.chmod(folder, 0o755)  # nginx's worker gives up root and must still enter
    place = Place(load.free_port(), 0, 0, folder)
    serving = machine.start(contenders.upstream(place), LOAD_CORE, folder / "upstream.out")
    samples = []
    try:
        load.wait_ready(place.port, serving)
        for number in range(plan.rounds):
            for name in plan.names:
                sample = _one(plan, name, number, place.port, folder)
                samples.append(sample)
                _progress(sample)
    finally:
        _stop(serving)
    return samples


def _one(plan: Plan, name: str, number: int, upstream_port: int, folder: Path) -> Sample:
    place = Place(load.free_port(), load.free_port(), upstream_port, folder, plan.feature)
    log = folder / f"{name}.out"
    command = CONTENDERS[name](place)
    began = time.perf_counter()
    child = machine.start(command, PROXY_CORE, log)
    try:
        load.wait_ready(place.port, child)
        ready_ms = (time.perf_counter() - began) * 1e3
        _drive(plan, place.port, plan.warmup_s)
        return _counted(plan, name, number, child.pid, place.port, ready_ms)
    except RuntimeError as failure:
        text = log.read_text("utf-8", "replace")[-2000:]
        raise click.ClickException(f"{name} {failure}\n{text}") from None
    finally:
        _stop(child)


def _counted(plan: Plan, name: str, number: int, pid: int, port: int, ready_ms: float) -> Sample:
    before, began = machine.cpu_s(pid), time.perf_counter()
    counted = _drive(plan, port, plan.duration_s)
    cpu_s, wall_s = machine.cpu_s(pid) - before, time.perf_counter() - began
    return Sample(
        contender=name,
        round=number,
        requests=counted.requests,
        requests_per_s=counted.requests_per_s,
        cpu_us=cpu_s / max(counted.requests, 1) * 1e6,
        p50_ms=counted.p50_ms,
        p99_ms=counted.p99_ms,
        rss_mb=machine.rss_mb(pid),
        ready_ms=ready_ms,
        core_share=cpu_s / wall_s,
        failed=counted.failed,
    )


def _drive(plan: Plan, port: int, duration_s: int) -> load.Load:
    return load.run(
        port,
        connections=plan.connections,
        duration_s=duration_s,
        core=LOAD_CORE,
        hosts=VHOSTS if plan.feature in ("vhosts", "all") else 0,
    )


def _progress(sample: Sample) -> None:
    failed = f", {sample.failed} FAILED" if sample.failed else ""
    print(
        f"round {sample.round + 1} {sample.contender:8} {sample.requests_per_s:8.0f} requests/s "
        f"{sample.cpu_us:6.1f} us/request (core {sample.core_share:.0%} busy){failed}",
        file=sys.stderr,
        flush=True,
    )


def _finish(plan: Plan, samples: list[Sample]) -> None:
    print(f"\n{plan.feature}\n\n{report.table(samples)}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / time.strftime(f"http1-{plan.feature}-%Y%m%d-%H%M%S.json")
    record = {
        "machine": machine.describe(),
        "plan": asdict(plan),
        "samples": [asdict(sample) for sample in samples],
    }
    path.write_text(json.dumps(record, indent=1))
    path.with_suffix(".md").write_text(report.table(samples) + "\n")
    print(f"\nwritten to benchmarks/results/{path.name}", file=sys.stderr)
    broken = sorted({sample.contender for sample in samples if sample.failed})
    if broken:
        raise click.ClickException(f"requests failed, these rows mean nothing: {', '.join(broken)}")


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


if __name__ == "__main__":
    main()
