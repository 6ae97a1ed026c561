"""The load and the moment of readiness, as a client sees them."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import NotInstalled

SCRIPT = Path(__file__).with_name("http1.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk counted. `failed` are answers that were not 2xx and broken connections."""

    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int


def run(port: int, *, connections: int, duration_s: int, core: int, hosts: int = 0) -> Load:
    """Keeps `connections` busy for `duration_s`, one wrk thread on `core`.

    hosts: so many names are asked for in turn (shop-0.test ...); 0 is bench.test alone.
    RuntimeError when nothing was answered at all."""
    program = shutil.which("wrk")
    if not program:
        raise NotInstalled("no wrk on this machine: `sh benchmarks/setup.sh` installs it")
    command = [program, "-t1", f"-c{connections}", f"-d{duration_s}s", "--latency"]
    command += ["-s", str(SCRIPT), f"http://127.0.0.1:{port}/", "--", str(hosts)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("WRK "))
    counted = json.loads(line.removeprefix("WRK "))
    if not counted["requests"]:
        raise RuntimeError(f"answered no request in {duration_s} s")
    return Load(
        requests=counted["requests"],
        requests_per_s=counted["requests"] / counted["duration_us"] * 1e6,
        p50_ms=counted["p50_us"] / 1e3,
        p99_ms=counted["p99_us"] / 1e3,
        failed=counted["not_2xx"] + counted["broken"],
    )


def wait_ready(port: int, child: subprocess.Popen[bytes], deadline_s: float = 30.0) -> None:
    """Until a request through `port` is answered with 200. RuntimeError if `child` ends before."""
    end = time.monotonic() + deadline_s
    while not _answers(port):
        if child.poll() is not None:
            raise RuntimeError(f"ended with exit code {child.returncode} before it was ready")
        if time.monotonic() > end:
            raise RuntimeError(f"not ready within {deadline_s} s")
        time.sleep(0.002)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/catalogue/0/items", headers={"x-tenant": "acme"})
        response = connection.getresponse()
        response.read()
        return response.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
