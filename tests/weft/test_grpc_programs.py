"""Programs with gRPC's own xDS: what they are told, and when they stand in the mesh."""

from __future__ import annotations

import asyncio
import json
import stat
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.ports import free_port
from tests.support.wait import eventually_async
from weft.deployment import Deployment, deployments
from weft.errors import UserError
from weft.grpc_bootstrap import GrpcNode, grpc_bootstrap
from weft.grpc_files import GrpcFiles, write
from weft.manifest import ManifestError, read_file
from weft.ports import PortBook
from weft.readiness import Readiness
from weft.registry import Registry, WorkloadEntry
from weft.report import Reporter
from weft.state import StateDir
from weft.tasks import spawn
from weft.workload import Plan, make_plan

TEXT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: greeter}
spec:
  template:
    metadata:
      labels: {app: greeter}
      annotations: {inject.istio.io/templates: "TEMPLATES"}
    spec:
      containers:
      - command: [greeter]
        ports: [{name: grpc, containerPort: 50051}]
"""


def read(tmp_path: Path, templates: str) -> Deployment:
    file = tmp_path / "greeter.yaml"
    file.write_text(TEXT.replace("TEMPLATES", templates))
    return deployments(read_file(file))[0]


def planned(tmp_path: Path, templates: str) -> Plan:
    deployment = read(tmp_path, templates)
    state = StateDir(tmp_path / "s")
    return make_plan("greeter", deployment, PortBook(Random(1)), state)


def test_the_program_itself_listens_and_knows_its_agent(tmp_path: Path) -> None:
    plan = planned(tmp_path, "grpc-agent")
    variables = plan.variables()
    assert plan.listen_ports == plan.app_ports
    assert variables["PORT"] == str(plan.app_ports["grpc"])
    assert variables["GRPC_XDS_BOOTSTRAP"] == str(tmp_path / "s" / "sidecars/greeter/grpc.json")
    assert "http_proxy" not in variables
    assert plan.node().id.startswith("agent~")
    assert plan.node().http_proxy_port is None


def test_it_may_have_a_sidecar_too(tmp_path: Path) -> None:
    plan = planned(tmp_path, "sidecar, grpc-agent")
    variables = plan.variables()
    assert plan.listen_ports != plan.app_ports
    assert {"http_proxy", "GRPC_XDS_BOOTSTRAP"} <= variables.keys()
    assert plan.node().id.startswith("sidecar~")
    assert "GRPC_XDS_BOOTSTRAP" not in planned(tmp_path, "sidecar").variables()


def test_what_else_is_to_be_injected_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"greeter.yaml:8:48: .*not 'waypoint'"):
        read(tmp_path, "sidecar,waypoint")


def test_a_state_directory_whose_name_is_too_long_is_said_so(tmp_path: Path) -> None:
    deployment = read(tmp_path, "grpc-agent")
    state = StateDir(tmp_path / ("x" * 100))
    with pytest.raises(UserError, match="give a shorter --state-dir"):
        make_plan("greeter", deployment, PortBook(Random(1)), state)


# --------------------------------------------------------------------------- outside of a laptop


def files(place: Path, **facts: Any) -> GrpcFiles:
    where = "weft.example.org:15012", Path("root.pem")
    made = GrpcFiles(place, *where, "cart-1", "shop", "cart", {"app": "cart"})
    return replace(made, **facts)


def test_both_files_fit_each_other(tmp_path: Path) -> None:
    place = tmp_path / "g"
    says = write(files(place))
    told = json.loads((place / "grpc.json").read_text())
    agent = json.loads((place / "agent.json").read_text())
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    (listener,) = agent["static_resources"]["listeners"]
    (server,) = told["xds_servers"]
    assert server["server_uri"] == f"unix:{listener['address']['pipe']['path']}"
    (cluster,) = agent["static_resources"]["clusters"]
    assert cluster["type"] == "STRICT_DNS"
    assert told["node"]["metadata"]["SERVICE_ACCOUNT"] == "cart"
    config = told["certificate_providers"]["default"]["config"]
    folder = Path(config["private_key_file"]).parent
    assert f"--output-certs {folder}" in says
    assert f"GRPC_XDS_BOOTSTRAP={place / 'grpc.json'}" in says


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"control_plane": "nowhere"}, "is not HOST:PORT"),
        ({"control_plane": "a:70000"}, "is not HOST:PORT"),
        ({"folder": Path("/x" * 60)}, "too long for a Unix socket"),
        ({"folder": Path("/proc/g")}, "can't be written"),
    ],
)
def test_what_can_not_be_written_is_a_clear_line(
    tmp_path: Path, facts: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        write(files(tmp_path, **facts))


def test_a_client_may_ask_the_control_plane_itself() -> None:
    node = GrpcNode("cart-1", "shop", "cart", {})
    made = grpc_bootstrap(node, "weft:15012", Path("/certs"), mutual_tls=True)
    (credentials,) = made["xds_servers"][0]["channel_creds"]
    assert credentials["type"] == "tls"
    assert credentials["config"]["certificate_file"] == "/certs/cert-chain.pem"


# --------------------------------------------------------------------------- in the mesh


class Silent(Reporter):
    width = 0

    def note(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...
    def output(self, name: str, line: str) -> None: ...


class Api:
    """Remembers who is ready, by name."""

    def __init__(self) -> None:
        self.ready: dict[str, bool] = {}

    async def register(self, manifest: str, source: str) -> object:
        metadata = json.loads(manifest)["metadata"]
        self.ready[metadata["name"]] = "weft.dev/ready" not in metadata["annotations"]
        return ()

    async def delete(self, kind: str, namespace: str, name: str) -> bool:
        return self.ready.pop(name, None) is not None


async def test_it_is_known_before_it_listens_and_called_while_it_does() -> None:
    api, registry = Api(), Registry(lambda text: None)
    registry.connect(api)
    running = spawn(registry.run(), "registry")
    port = free_port()
    entry = WorkloadEntry("a", "default", "sa", {}, {"grpc": port}, {"grpc": port})
    readiness = Readiness(entry, registry, Silent(), early=True)
    alive = True
    readiness.begin(lambda: alive)
    await eventually_async(lambda: api.ready == {"a": False})
    assert not readiness.registered
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port)
    await eventually_async(lambda: api.ready == {"a": True})
    assert readiness.registered
    server.close()
    await server.wait_closed()
    await eventually_async(lambda: api.ready == {"a": False})
    alive = False
    readiness.end()
    await eventually_async(lambda: api.ready == {})
    running.cancel()


async def test_one_that_leaves_is_not_registered_again_while_it_still_listens() -> None:
    api, registry = Api(), Registry(lambda text: None)
    registry.connect(api)
    running = spawn(registry.run(), "registry")
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    entry = WorkloadEntry("a", "default", "sa", {}, {"http": port}, {"http": port})
    readiness = Readiness(entry, registry, Silent())
    readiness.begin(lambda: True)
    await eventually_async(lambda: api.ready == {"a": True})
    await readiness.leave()
    watching = [task for task in asyncio.all_tasks() if task.get_name() == "readiness of a"]
    await asyncio.wait(watching)
    assert api.ready == {} and not registry.has("default", "a")
    running.cancel()
    server.close()
