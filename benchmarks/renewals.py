"""Ten thousand workloads renew their certificates at once: how long does the control plane take,
and what becomes of pushes?

    python -m benchmarks.renewals [--workloads N] [--connections K] [--open]

The requests come over mutual TLS, on K connections that are opened for it: a handshake of each is
in the time, save with --open, where all of them are there before. (A proxy renews upon its
discovery stream's connection: --connections equal to --workloads, and --open.) A discovery stream
of another process, whose loop is not busy with the renewals, is pushed a change again and again:
how long each took from the API's call to the stream.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import grpc
import grpc.aio
import uvloop
from envoy.service.discovery.v3 import discovery_pb2 as discovery

from certs.csr import make_csr
from certs.keys import generate_key, key_to_pem
from certs.spiffe import SpiffeId
from certs.store import load_store
from certs.x509 import chain_to_pem
from protos.gen.istio import ca_pb2
from protos.gen.weft.v1 import management_pb2 as pb
from protos.types import CDS
from tests.support.control_plane import SERVER_NAME, ControlPlane

CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
IN_FLIGHT = 64
"""Connections that are being opened, or calls made, at one time: the rest waits in the kernel."""
CHANGE_EVERY_S = 0.2
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: moving}}
spec: {{hosts: [moving-{number}.example], ports: [{{number: 80, name: http, protocol: HTTP}}],
        resolution: DNS, location: MESH_EXTERNAL}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--open", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory, "mesh")
        config.mkdir()
        state = Path(directory, "state")
        with ControlPlane(config, state, "--log-level", "warning") as plane:
            watched = Path(directory, "pushes")
            admin = (state / "admin.token").read_text().strip()
            tokens = plane.join_token("watcher"), admin
            where = Watched(plane.serving["address"], plane.root_pem, *tokens, watched)
            watcher = multiprocessing.get_context("spawn").Process(target=_watching, args=(where,))
            watcher.start()
            try:
                result = uvloop.run(_run(plane, watched, options))
            finally:
                watcher.terminate()
                watcher.join()
    print(json.dumps(result, indent=1))
    return 1 if result["failed"] else 0


async def _run(
    plane: ControlPlane, watched: Path, options: argparse.Namespace
) -> dict[str, object]:
    workloads, connections = options.workloads, options.connections
    # In a thread: making ten thousand keys takes a while, and is no part of it.
    calls = await asyncio.to_thread(_calls, plane, workloads, connections)
    if options.open:
        await asyncio.gather(*(each.open() for each in calls))
    quiet_s = time.monotonic()
    await asyncio.sleep(2.0)
    began_s = time.monotonic()
    cpu_s = plane.cpu_s()
    outcomes = await asyncio.gather(*(each.renew() for each in calls))
    took_s = time.monotonic() - began_s
    cpu_s = plane.cpu_s() - cpu_s
    pushes = _told(watched)
    return {
        "workloads": workloads,
        "connections": connections,
        "open_before": options.open,
        "seconds": round(took_s, 2),
        "per_second": round(workloads / took_s),
        "control_plane_cpu_s": round(cpu_s, 2),
        "failed": sum(outcomes),
        "push_ms_quiet": _summary([ms for at, ms in pushes if quiet_s < at < began_s]),
        "push_ms_meanwhile": _summary([ms for at, ms in pushes if began_s < at < began_s + took_s]),
    }


def _calls(plane: ControlPlane, workloads: int, connections: int) -> list[Renewals]:
    """One for each connection."""
    authority = load_store(plane.state, time.time()).authority
    gate = asyncio.Semaphore(IN_FLIGHT)
    roots = plane.root_pem
    found: list[Renewals] = []
    for number in range(connections):
        identity = SpiffeId.workload("cluster.local", "default", f"w{number}")
        key = generate_key()
        chain = authority.sign(key.public_key(), identity, 600, time.time())[:-1]
        csrs = [
            make_csr(generate_key(), identity).decode()
            for _ in range(workloads // connections + (number < workloads % connections))
        ]
        credentials = grpc.ssl_channel_credentials(roots, key_to_pem(key), chain_to_pem(chain))
        found.append(Renewals(plane.serving["mtls_address"], credentials, csrs, gate))
    return found


class Renewals:
    """Those of one connection, one after the other."""

    def __init__(
        self,
        address: str,
        credentials: grpc.ChannelCredentials,
        csrs: list[str],
        gate: asyncio.Semaphore,
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._csrs = csrs
        self._gate = gate
        self._channel: grpc.aio.Channel | None = None

    def _dial(self) -> grpc.aio.Channel:
        options = (
            ("grpc.ssl_target_name_override", SERVER_NAME),
            ("grpc.use_local_subchannel_pool", 1),
        )
        return grpc.aio.secure_channel(self._address, self._credentials, options)

    async def open(self) -> None:
        async with self._gate:
            self._channel = self._dial()
            await self._channel.channel_ready()

    async def renew(self) -> int:
        """How many of them failed."""
        async with self._gate:
            channel = self._channel or self._dial()
            create = channel.unary_unary(
                CREATE,
                ca_pb2.IstioCertificateRequest.SerializeToString,
                ca_pb2.IstioCertificateResponse.FromString,
            )
            failed = 0
            for csr in self._csrs:
                try:
                    answer = await create(ca_pb2.IstioCertificateRequest(csr=csr), timeout=60)
                    failed += len(answer.cert_chain) < 2
                except grpc.aio.AioRpcError as error:
                    failed += 1
                    print(error.details(), file=sys.stderr)
            if self._channel is None:
                await channel.close(None)
            return failed


class Watched(NamedTuple):
    """What the watcher needs. told: a line for each push, when it came (monotonic, s) and how long
    it took (ms)."""

    address: str
    root_pem: bytes
    token: str
    admin_token: str
    told: Path


def _watching(where: Watched) -> None:
    uvloop.run(_watch(where))


async def _watch(where: Watched) -> None:
    """Until it is killed."""
    credentials = grpc.ssl_channel_credentials(where.root_pem)
    options = (("grpc.ssl_target_name_override", SERVER_NAME),)
    admin = (("authorization", f"Bearer {where.admin_token}"),)
    channel: Any
    with where.told.open("a", buffering=1) as told:
        async with grpc.aio.secure_channel(where.address, credentials, options) as channel:
            await _push_and_wait(channel, where.token, admin, told)


async def _push_and_wait(
    channel: Any, token: str, admin: tuple[tuple[str, str], ...], told: TextIO
) -> None:
    apply = channel.unary_unary(
        "/weft.v1.Management/Apply",
        pb.ApplyRequest.SerializeToString,
        pb.ApplyResponse.FromString,
    )
    stream = channel.stream_stream(
        DELTA,
        discovery.DeltaDiscoveryRequest.SerializeToString,
        discovery.DeltaDiscoveryResponse.FromString,
    )(metadata=(("authorization", f"Bearer {token}"),))
    first = discovery.DeltaDiscoveryRequest(type_url=CDS)
    first.node.id = "sidecar~127.0.0.1~watcher.default~default.svc.cluster.local"
    first.node.metadata.update({"NAMESPACE": "default", "SERVICE_ACCOUNT": "watcher"})
    await stream.write(first)
    number, began_s = 0, time.monotonic()
    while True:
        response = await stream.read()
        answer = discovery.DeltaDiscoveryRequest(type_url=CDS, response_nonce=response.nonce)
        await stream.write(answer)
        if any(f"moving-{number}." in one.name for one in response.resources):
            now_s = time.monotonic()
            told.write(f"{now_s} {1000 * (now_s - began_s)}\n")
            await asyncio.sleep(CHANGE_EVERY_S)
        elif number:
            continue
        number += 1
        began_s = time.monotonic()
        request = pb.ApplyRequest(manifest=ENTRY.format(number=number))
        await apply(request, metadata=admin)


def _told(watched: Path) -> list[tuple[float, float]]:
    """When pushes came, and how long they took, so far."""
    lines = [line.split() for line in watched.read_text().splitlines()]
    return [(float(at), float(took_ms)) for at, took_ms in lines]


def _summary(milliseconds: list[float]) -> dict[str, float]:
    if not milliseconds:
        return {}
    return {
        "count": len(milliseconds),
        "median": round(statistics.median(milliseconds), 1),
        "max": round(max(milliseconds), 1),
    }


if __name__ == "__main__":
    sys.exit(main())
