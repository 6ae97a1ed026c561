"""`python -m benchmarks.renewals`: ten thousand workloads renew at once; does anybody else wait?

A real control plane, pinned to core 0. This process, on core 1, plays the workloads: connections by
mutual TLS (made before), then all CSRs at once, each answer checked to be a chain. Meanwhile the
admin page is asked every 20 ms: how long that takes is how long a push would have had to wait.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import grpc
import uvloop
from grpc import aio

from benchmarks import machine
from certs.authority import Authority
from certs.csr import make_csr
from certs.keys import generate_key, key_to_pem
from certs.spiffe import SpiffeId
from certs.store import load_store
from certs.x509 import chain_to_pem
from protos.gen.istio.ca_pb2 import IstioCertificateRequest, IstioCertificateResponse

ROOT = Path(__file__).resolve().parents[1]
METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
SERVER_NAME = "weft-controlplane.weft-system.svc"
PROBE_EVERY_S = 0.02
START_S = 30.0
CALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Workload:
    """A connection, and the requests that it sends."""

    channel: aio.Channel
    requests: tuple[IstioCertificateRequest, ...]


def _workload(authority: Authority, number: int, renewals: int, address: str) -> Workload:
    now, key = time.time(), generate_key()
    identity = SpiffeId.workload("cluster.local", "default", f"service-{number}")
    chain = authority.sign(key.public_key(), identity, 3600, now)
    credentials = grpc.ssl_channel_credentials(
        authority.bundle.to_pem(), key_to_pem(key), chain_to_pem(chain[:-1])
    )
    options = [
        ("grpc.ssl_target_name_override", SERVER_NAME),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    requests = tuple(
        IstioCertificateRequest(csr=make_csr(generate_key(), identity).decode())
        for _ in range(renewals)
    )
    return Workload(aio.secure_channel(address, credentials, options=options), requests)


async def _renew(workload: Workload, times: list[float], failures: Counter[str]) -> None:
    create = workload.channel.unary_unary(
        METHOD, IstioCertificateRequest.SerializeToString, IstioCertificateResponse.FromString
    )

    async def one(request: IstioCertificateRequest) -> None:
        try:
            answer = await create(request, timeout=CALL_S)
        except grpc.RpcError as error:
            failures[str(error.code())] += 1
            return
        assert len(answer.cert_chain) == 2
        times.append(time.perf_counter())

    await asyncio.gather(*map(one, workload.requests))


def _probe(url: str) -> None:
    """In a process of its own, whose waits are not those of the load: prints them at SIGTERM."""
    waits: list[float] = []

    def tell(*_: object) -> None:
        print(json.dumps(waits))
        sys.exit(0)

    signal.signal(signal.SIGTERM, tell)
    while True:
        began = time.perf_counter()
        urlopen(url, timeout=CALL_S).close()
        waits.append(time.perf_counter() - began)
        time.sleep(PROBE_EVERY_S)


def _start_probe(url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.renewals", "--probe", url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


async def _measure(state: Path, pid: int, renewals: int, connections: int) -> None:
    serving = json.loads((state / "controlplane.json").read_text("utf-8"))
    authority = load_store(state, time.time()).authority
    each = renewals // connections
    workloads = [
        _workload(authority, number, each, serving["mtls_address"]) for number in range(connections)
    ]
    began, used = time.perf_counter(), machine.cpu_s(pid)
    await asyncio.gather(*(one.channel.channel_ready() for one in workloads))
    print(
        f"{connections} connections by mutual TLS: {time.perf_counter() - began:.2f} s, "
        f"{(machine.cpu_s(pid) - used) / connections * 1e6:.0f} us of the control plane each"
    )
    times: list[float] = []
    failures: Counter[str] = Counter()
    probe = _start_probe(f"http://{serving['admin_address']}/ready")
    await asyncio.sleep(1)
    began, used = time.perf_counter(), machine.cpu_s(pid)
    await asyncio.gather(*(_renew(one, times, failures) for one in workloads))
    took, used = time.perf_counter() - began, machine.cpu_s(pid) - used
    probe.terminate()
    waits = sorted(json.loads(probe.communicate()[0]))
    if failures:
        print(f"FAILED: {dict(failures)}")
    print(
        f"{len(times)} renewals at once: {took:.2f} s, {len(times) / took:,.0f} a second, "
        f"{used / len(times) * 1e6:.0f} us of the control plane each"
    )
    print(
        f"others waited {waits[len(waits) // 2] * 1e3:.1f} ms in the middle, "
        f"{waits[int(len(waits) * 0.99)] * 1e3:.1f} ms in the 99th percentile, "
        f"{waits[-1] * 1e3:.1f} ms at most"
    )
    for one in workloads:
        await one.channel.close(None)


def main(arguments: list[str]) -> None:
    parser = ArgumentParser(prog="benchmarks.renewals", description=__doc__)
    parser.add_argument("--renewals", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--probe", help="For its own use.")
    options = parser.parse_args(arguments)
    if options.probe:
        _probe(options.probe)
    with TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        command = [
            sys.executable, "-m", "weft", "controlplane", "--state-dir", str(state), "--config",
            str(ROOT / "examples" / "postcard"), "--port", "0", "--mtls-port", "0",
            "--admin-port", "0",
        ]  # fmt: skip
        process = machine.start(command, 0, Path(folder) / "log")
        os.sched_setaffinity(0, {1})
        try:
            deadline = time.monotonic() + START_S
            while not (state / "controlplane.json").exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit((Path(folder) / "log").read_text("utf-8"))
                time.sleep(0.05)
            uvloop.run(_measure(state, process.pid, options.renewals, options.connections))
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
