"""Two gRPC clients that nobody here wrote, C-core's (Python) and JavaScript's: they reach what our
control plane names, follow its changes, and refuse nothing.

The bootstrap is the folder's, but for where the control plane is. Node's client comes from npm
(`make peers`); without it its cases are left out, unless CI is set.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.translate import build
from tests.conformance.suite import Result
from tests.support.cases import ROOT
from tests.support.grpc_xds import GrpcJudge, GrpcProgram, echo_server, grpc_judging, grpc_program
from tests.support.mesh import TRUST_DOMAIN
from tests.support.wait import POLL_S

PEER = ROOT / ".peers" / "grpc-node"
PROGRAM = ROOT / "tests" / "support" / "grpc_program.mjs"
TARGET = "xds:///hello.default.svc.cluster.local:8080"
DEADLINE_S = 60.0

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: hello}
spec:
  selector: {app: hello}
  ports: [{name: grpc, port: 8080, targetPort: grpc}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: hello}
spec:
  host: hello
  subsets:
  - {name: one, labels: {version: one}}
  - {name: two, labels: {version: two}}
"""
ENTRY = """
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: hello-NAME}
spec: {address: 127.0.0.1, ports: {grpc: PORT}, labels: {app: hello, version: NAME}}
"""
ROUTES = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: hello}
spec: {hosts: [hello], http: RULES}
"""
ONE, TWO = ({"destination": {"host": "hello", "subset": name}} for name in ("one", "two"))


@dataclass(frozen=True, slots=True)
class Scene:
    """A client, and where its two backends are."""

    judge: GrpcJudge
    program: GrpcProgram
    ports: dict[str, int]

    def show(self, *names: str, rules: object = None) -> None:
        """hello's endpoints are these, and its HTTP rules."""
        text = SERVICE
        for name in names:
            text += ENTRY.replace("NAME", name).replace("PORT", str(self.ports[name]))
        if rules is not None:
            text += ROUTES.replace("RULES", json.dumps(rules))
        parsed = parse(text, "hello.yaml")
        assert not parsed.has_errors, parsed.statuses
        self.judge.show(build(Snapshot(parsed.objects), TRUST_DOMAIN)[0])

    async def until(self, wanted: set[str], count: int = 24, **words: object) -> None:
        """Until so many calls are answered by all of these and nobody else."""
        end = asyncio.get_running_loop().time() + DEADLINE_S
        while True:
            called = await asyncio.to_thread(self.program.call, TARGET, count, **words)
            found = {text.split()[0] if code == "OK" else code for code, text in called}
            if found == wanted:
                break
            if asyncio.get_running_loop().time() > end:
                raise AssertionError(f"{found} in place of {wanted}: {called[-1]}")
            await asyncio.sleep(POLL_S)
        for connection in self.judge.ads.connections:
            assert not connection.machine.rejections, connection.machine.rejections


async def reaches_its_backend(scene: Scene) -> None:
    scene.show("one")
    await scene.until({"one"}, 1)


async def balances_over_endpoints(scene: Scene) -> None:
    scene.show("one", "two")
    await scene.until({"one", "two"})


async def follows_endpoints(scene: Scene) -> None:
    scene.show("two")
    await scene.until({"two"})


async def follows_weights(scene: Scene) -> None:
    for one, two in ((100, 0), (0, 100), (50, 50)):
        routes = [{**ONE, "weight": one}, {**TWO, "weight": two}]
        scene.show("one", "two", rules=[{"route": routes}])
        await scene.until({name for name, share in (("one", one), ("two", two)) if share})


async def follows_headers(scene: Scene) -> None:
    jason = {"headers": {"end-user": {"exact": "jason"}}}
    scene.show("one", "two", rules=[{"match": [jason], "route": [TWO]}, {"route": [ONE]}])
    await scene.until({"one"})
    await scene.until({"two"}, metadata=[["end-user", "jason"]])


async def follows_methods(scene: Scene) -> None:
    other = {"uri": {"prefix": "/weft.test.Nothing/"}}
    scene.show("one", "two", rules=[{"match": [other], "route": [ONE]}, {"route": [TWO]}])
    await scene.until({"two"})
    await scene.until({"UNIMPLEMENTED"}, 1, method="/weft.test.Nothing/Say")


async def follows_faults(scene: Scene) -> None:
    fault = {"abort": {"grpcStatus": "RESOURCE_EXHAUSTED", "percentage": {"value": 100}}}
    scene.show("one", "two", rules=[{"fault": fault, "route": [ONE]}])
    await scene.until({"RESOURCE_EXHAUSTED"}, 4)
    scene.show("one", "two", rules=[{"route": [ONE]}])
    await scene.until({"one"}, 4)


async def hears_of_what_is_gone(scene: Scene) -> None:
    scene.show()
    await scene.until({"UNAVAILABLE"}, 1, timeout=2)
    scene.show("one")
    await scene.until({"one"}, 4, timeout=5)


STEPS: tuple[Callable[[Scene], Awaitable[None]], ...] = (
    reaches_its_backend,
    balances_over_endpoints,
    follows_endpoints,
    follows_weights,
    follows_headers,
    follows_methods,
    follows_faults,
    hears_of_what_is_gone,
)


def run(folder: Path) -> Iterator[Result]:
    bootstrap = (folder / "bootstrap.json").read_text()
    yield from asyncio.run(_cases("python", bootstrap, ()))
    if (PEER / "node_modules").is_dir() or os.environ.get("CI"):
        node = shutil.which("node") or "node"
        yield from asyncio.run(_cases("node", bootstrap, (node, str(PROGRAM))))


async def _cases(name: str, bootstrap: str, command: tuple[str, ...]) -> list[Result]:
    with echo_server("one") as one, echo_server("two") as two, TemporaryDirectory() as place:
        async with grpc_judging("default") as judge:
            path = _told(Path(place), bootstrap, judge.port)
            with grpc_program(path, command, PEERS=str(PEER)) as program:
                scene = Scene(judge, program, {"one": one, "two": two})
                return [await _result(name, step, scene) for step in STEPS]


def _told(place: Path, bootstrap: str, port: int) -> Path:
    content = json.loads(bootstrap)
    content["xds_servers"][0]["server_uri"] = f"127.0.0.1:{port}"
    path = place / "bootstrap.json"
    path.write_text(json.dumps(content))
    return path


async def _result(name: str, step: Callable[[Scene], Awaitable[None]], scene: Scene) -> Result:
    case = f"{name} {step.__name__.replace('_', ' ')}"
    try:
        await step(scene)
    except AssertionError as error:
        return Result(case, str(error) or "failed")
    return Result(case)
