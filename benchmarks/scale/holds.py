"""What a sidecar holds of services that it does not call: memory, CPU and configuration.

    python -m benchmarks.scale.holds [--services 10 1000] [--endpoints 20]

A real Weft proxy calls 5 services of so many, on demand and (as a plain Envoy would) with all of
them; then one of the others changes, and as many again come. Bytes are those of `/config_dump`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import machine
from benchmarks.scale import mesh
from tests.support.control_plane import ControlPlane
from tests.support.handmade import Part
from tests.support.process import ProxyProcess
from tests.support.wait import eventually

CALLED = 5
SETTLED_S = 1.5


def add(folder: Path, first: int, count: int, endpoints: int, generation: int = 0) -> None:
    """One file of services, with rules, policies and endpoints (nobody listens there)."""
    texts: list[str] = []
    for number in range(first, first + count):
        moved = mesh.endpoints(number, endpoints, generation)
        texts += [mesh.service(number), mesh.policy(number), mesh.rules(number), moved]
    whole = folder.with_name("new.yaml")
    whole.write_text("---\n".join(texts))
    whole.rename(folder / f"services-{first}.yaml")


@contextmanager
def sidecar(
    plane: ControlPlane, caller: Part, folder: Path, on_demand: bool
) -> Iterator[ProxyProcess]:
    proxy = caller.weft(plane, folder)
    path = folder / caller.name / "weft.json"
    bootstrap = json.loads(path.read_text())
    bootstrap["node"]["metadata"]["WEFT_ON_DEMAND"] = str(on_demand).lower()
    path.write_text(json.dumps(bootstrap))
    with proxy:
        yield proxy


def call(port: int, number: int) -> None:
    """What comes back does not matter: the proxy has looked for it."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    client.request("GET", "/", headers={"Host": mesh.host(number)})
    client.getresponse().read()
    client.close()


def settled(plane: ControlPlane, services: int) -> bool:
    status = plane.status()
    (proxy,) = status["proxies"] or [{"synced": False}]
    return len(status["services"]) >= services and bool(proxy["synced"])


def measure(services: int, endpoints: int, on_demand: bool) -> None:
    caller = Part("caller-1", (), {"app": "caller"})
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory, "mesh")
        folder.mkdir()
        (folder / "caller.yaml").write_text(caller.entry())
        add(folder, 0, services, endpoints)
        with (
            ControlPlane(folder, Path(directory, "state")) as plane,
            sidecar(plane, caller, Path(directory), on_demand) as proxy,
        ):
            for number in range(CALLED):
                call(caller.outbound, number)
            eventually(lambda: settled(plane, services), 120, "all is in force")
            told = [
                f"{'on demand' if on_demand else 'whole':9} {services:5} services",
                state(proxy),
            ]
            add(folder, services, services, endpoints)
            eventually(lambda: settled(plane, 2 * services), 120, "more is in force")
            told.append(f"after as many more: {state(proxy)}")
        print("; ".join(told), flush=True)


def state(proxy: ProxyProcess) -> str:
    time.sleep(SETTLED_S)
    memory_mb, cpu_s = machine.rss_mb(proxy.pid), machine.cpu_s(proxy.pid)
    size = len(proxy.admin("/config_dump?include_eds").body)
    return f"{memory_mb:.1f} MB, {cpu_s:.2f} s CPU, {size / 1e3:.1f} kB of configuration"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--endpoints", type=int, default=20)
    options = parser.parse_args()
    for services in options.services:
        for on_demand in (True, False):
            measure(services, options.endpoints, on_demand)


if __name__ == "__main__":
    main()
