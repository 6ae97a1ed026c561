"""The fakes' processes, driven from here: a command goes to all, their answers come together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks import machine
from benchmarks.scale import mesh
from certs.authority import Authority
from certs.keys import generate_key, key_to_pem
from certs.spiffe import SpiffeId
from certs.x509 import chain_to_pem

FAKES = [sys.executable, "-m", "benchmarks.scale.fakes"]
LIFE_S = 24 * 3600
TOLD_FAILURES = 3


@dataclass(frozen=True, slots=True)
class Told:
    """Of all fakes since the last reset. last_s: the last ACK, by the monotonic clock."""

    responses: int
    bytes: int
    proxies: int
    last_s: float


class Fleet:
    """`with Fleet(...) as fleet:`. calls: for each proxy the services it calls, None: all.

    Whatever is asked of it raises RuntimeError once a stream has ended that was not closed."""

    def __init__(
        self,
        address: str,
        roots: bytes,
        authority: Authority,
        calls: list[list[int] | None],
        processes: int,
        core: int | None,
    ) -> None:
        self._jobs: list[dict[str, Any]] = [
            {"address": address, "roots": roots.decode(), "proxies": {}} for _ in range(processes)
        ]
        self.proxies = len(calls)
        for number, called in enumerate(calls):
            who = SpiffeId.workload("cluster.local", mesh.NAMESPACE, f"w{number}")
            key = generate_key()
            chain = authority.sign(key.public_key(), who, LIFE_S, time.time())[:-1]
            self._jobs[number % processes]["proxies"][str(number)] = {
                "key": key_to_pem(key).decode(),
                "chain": chain_to_pem(chain).decode(),
                "calls": called,
            }
        self._core = core
        self._children: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        for job in self._jobs:
            child = subprocess.Popen(
                FAKES,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
            )
            if self._core is not None:
                os.sched_setaffinity(child.pid, {self._core})
            self._children.append(child)
            _send(child, job)
        self.do("tell")  # their keys are read by then
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.kill()
            child.communicate()

    @property
    def cpu_s(self) -> float:
        return sum(machine.cpu_s(child.pid) for child in self._children)

    def do(self, what: str) -> Told:
        """'open', 'close', 'reset' or 'tell'."""
        return self._all([{"do": what}] * len(self._children))

    def wait_for(self, proxies: int | None = None) -> Told:
        """Until so many have acknowledged something; with None all of them."""
        shares = [{"do": "await", "proxies": len(job["proxies"])} for job in self._jobs]
        if proxies is not None:
            assert len(self._children) == 1 or proxies == 0, "whose share is it?"
            shares = [{"do": "await", "proxies": proxies}] * len(self._children)
        return self._all(shares)

    def _all(self, commands: list[dict[str, Any]]) -> Told:
        for child, command in zip(self._children, commands, strict=True):
            _send(child, command)
        told = [_answer(child) for child in self._children]
        failures = [why for one in told for why in one["failures"]]
        if failures:
            some = "; ".join(failures[:TOLD_FAILURES])
            raise RuntimeError(f"{len(failures)} streams of proxies have failed: {some}")
        return Told(
            sum(one["responses"] for one in told),
            sum(one["bytes"] for one in told),
            sum(one["proxies"] for one in told),
            max(one["last_s"] for one in told),
        )


def _send(child: subprocess.Popen[str], what: dict[str, Any]) -> None:
    assert child.stdin is not None
    child.stdin.write(json.dumps(what) + "\n")
    child.stdin.flush()


def _answer(child: subprocess.Popen[str]) -> dict[str, Any]:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError("the fakes have ended; see their output above")
    found: dict[str, Any] = json.loads(line)
    return found
