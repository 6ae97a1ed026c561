"""`weft controlplane` as its users meet it: starting, refusing to, telling, stopping."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from google.protobuf.duration_pb2 import Duration

from protos.gen.weft.v1 import management_pb2 as pb
from tests.support.control_plane import COMMAND, ControlPlane
from tests.support.wait import eventually
from weft.cli import weft

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: messenger}
spec:
  selector: {app: messenger}
  ports: [{name: http, port: 8080, targetPort: http}]
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: messenger-1}
spec: {address: 127.0.0.1, ports: {http: 9101}, labels: {app: messenger}}
"""
LOST_ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: lost}
spec:
  hosts: [messenger]
  http:
  - route:
    - destination: {host: nowhere}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    directory = tmp_path / "mesh"
    directory.mkdir()
    (directory / "service.yaml").write_text(SERVICE)
    return directory


@pytest.fixture
def plane(config: Path, tmp_path: Path) -> Iterator[ControlPlane]:
    with ControlPlane(config, tmp_path / "state") as made:
        yield made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """For tests that change nothing but what they apply."""
    directory = tmp_path_factory.mktemp("running")
    (directory / "mesh").mkdir()
    (directory / "mesh" / "service.yaml").write_text(SERVICE)
    with ControlPlane(directory / "mesh", directory / "state") as made:
        yield made


@pytest.fixture
def shared(running: ControlPlane) -> Iterator[ControlPlane]:
    before = running.status()["version"]
    yield running
    for kind, name in (("WorkloadEntry", "messenger-1"), ("VirtualService", "lost")):
        running.call("Delete", pb.DeleteRequest(kind=kind, name=name), pb.DeleteResponse)
    assert running.status()["version"] == before


def failing(*options: str) -> tuple[int, str, str]:
    """Runs it; exit code, standard output, standard error."""
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def watch(plane: ControlPlane) -> Any:
    """An open WatchStatus stream."""
    call = plane.channel().unary_stream(
        "/weft.v1.Management/WatchStatus",
        request_serializer=pb.GetStatusRequest.SerializeToString,
        response_deserializer=pb.MeshStatus.FromString,
    )
    token = (plane.state / "admin.token").read_text().strip()
    metadata = (("authorization", f"Bearer {token}"),)
    return call(pb.GetStatusRequest(), metadata=metadata, timeout=60)


# --------------------------------------------------------------------------- start and stop


@pytest.mark.parametrize(("sig", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_says_that_it_serves_and_takes_it_back(
    config: Path, tmp_path: Path, sig: signal.Signals, code: int
) -> None:
    plane = ControlPlane(config, tmp_path / "state").start()
    serving = plane.serving
    assert set(serving) == {"pid", "address", "mtls_address", "admin_address"}
    assert plane.page("/ready") == (200, "LIVE\n")
    assert plane.stop(sig) == code
    assert not (plane.state / "controlplane.json").exists()
    assert "Traceback" not in plane.log
    assert "address " + serving["address"] in plane.log


def test_it_is_not_ready_while_it_can_not_know_all_policies(config: Path, tmp_path: Path) -> None:
    broken = config / "policies.yaml"
    broken.write_text("kind: [\n")
    with ControlPlane(config, tmp_path / "state") as plane:
        code, why = plane.page("/ready")
        assert (code, why.splitlines()[0]) == (503, "SERVING")
        assert f"{broken}:2:1: " in why
        broken.write_text("# none after all\n")
        eventually(lambda: plane.page("/ready") == (200, "LIVE\n"), 20, "all is known")


def test_an_open_stream_does_not_hold_up_the_end(plane: ControlPlane) -> None:
    stream = watch(plane)
    assert next(stream).version
    plane.keep_channel = True
    assert plane.stop() == 0
    with pytest.raises(grpc.RpcError):
        list(stream)


def test_the_state_directory_is_private_and_kept(config: Path, tmp_path: Path) -> None:
    with ControlPlane(config, tmp_path / "state") as plane:
        first = plane.root_pem
        assert stat.S_IMODE(plane.state.stat().st_mode) == 0o700
        for name in ("ca/state.json", "admin.token"):
            assert stat.S_IMODE((plane.state / name).stat().st_mode) == 0o600
    with ControlPlane(config, tmp_path / "state") as plane:
        assert plane.root_pem == first


def test_a_missing_directory_is_one_line(tmp_path: Path) -> None:
    code, out, err = failing("--config", str(tmp_path / "no"), "--state-dir", str(tmp_path / "s"))
    assert (code, out) == (1, "")
    assert err == f"weft: error: the configuration directory {tmp_path / 'no'} does not exist\n"
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("option", ["port", "mtls-port", "admin-port"])
def test_a_port_in_use_is_one_line(config: Path, tmp_path: Path, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {"port": 0, "mtls-port": 0, "admin-port": 0} | {option: port}
        options = [word for name, value in ports.items() for word in (f"--{name}", str(value))]
        state = tmp_path / "state"
        code, _, err = failing("--config", str(config), "--state-dir", str(state), *options)
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith(f"weft: error: cannot listen on 127.0.0.1:{port}: Address already")
    assert f"--{option} " in line
    assert not (state / "controlplane.json").exists()


def test_a_state_directory_that_everybody_may_write_is_refused(
    config: Path, tmp_path: Path
) -> None:
    state = tmp_path / "open"
    state.mkdir()
    state.chmod(0o777)
    code, _, err = failing("--config", str(config), "--state-dir", str(state), "--port", "0")
    assert code == 1
    (line,) = err.splitlines()
    assert str(state) in line


def test_a_state_directory_that_is_in_use_is_refused(config: Path, tmp_path: Path) -> None:
    with ControlPlane(config, tmp_path / "state") as plane:
        ports = ("--port", "0", "--mtls-port", "0", "--admin-port", "0")
        code, _, err = failing("--config", str(config), "--state-dir", str(plane.state), *ports)
        assert code == 1
        assert err.startswith("weft: error: another control plane uses the state directory")
        assert err.count("\n") == 1
        assert plane.page("/ready") == (200, "LIVE\n")


def test_a_root_of_another_trust_domain_is_refused(config: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with ControlPlane(config, state):
        pass
    options = ("--config", str(config), "--state-dir", str(state), "--trust-domain", "other.test")
    code, _, err = failing(*options)
    assert code == 1
    (line,) = err.splitlines()
    assert "cluster.local" in line
    assert "other.test" in line


def test_another_processes_address_file_is_left_alone(config: Path, tmp_path: Path) -> None:
    plane = ControlPlane(config, tmp_path / "state").start()
    path = plane.state / "controlplane.json"
    path.write_text(json.dumps({"pid": os.getpid()}))
    plane.stop()
    assert json.loads(path.read_text()) == {"pid": os.getpid()}


# --------------------------------------------------------------------------- configuration


def test_errors_are_told_with_their_place_and_taken_back(plane: ControlPlane, config: Path) -> None:
    path = config / "lost.yaml"
    path.write_text(LOST_ROUTE)
    place = f"weft: error: {path}:9:27: "
    eventually(lambda: place in plane.log, what=plane.log)
    (line,) = [line for line in plane.log.splitlines() if place in line]
    assert "nowhere" in line
    assert "VirtualService default/lost" in line
    path.write_text(LOST_ROUTE.replace("nowhere", "messenger"))
    eventually(lambda: f"weft: resolved: {path}:9:27: " in plane.log)


def test_a_file_that_does_not_parse_leaves_the_rest_in_force(
    plane: ControlPlane, config: Path
) -> None:
    (config / "broken.yaml").write_text("kind: [Service\n")
    eventually(lambda: f"weft: error: {config / 'broken.yaml'}:" in plane.log)
    assert [s["hostname"] for s in plane.status()["services"]] == [
        "messenger.default.svc.cluster.local"
    ]
    (config / "service.yaml").write_text(SERVICE.replace("messenger", "greeter"))
    eventually(
        lambda: plane.status()["services"][0]["hostname"] == "greeter.default.svc.cluster.local"
    )


# --------------------------------------------------------------------------- management


def test_apply_and_delete_register_a_workload(shared: ControlPlane) -> None:
    def endpoints() -> int:
        status: pb.MeshStatus = shared.call("GetStatus", pb.GetStatusRequest(), pb.MeshStatus)
        return status.services[0].endpoints_healthy

    assert endpoints() == 0
    answer = shared.call("Apply", pb.ApplyRequest(manifest=ENTRY), pb.ApplyResponse)
    assert [s for s in answer.statuses if s.severity == "error"] == []
    assert endpoints() == 1
    request = pb.DeleteRequest(kind="WorkloadEntry", name="messenger-1")
    assert shared.call("Delete", request, pb.DeleteResponse).existed
    assert endpoints() == 0
    assert not shared.call("Delete", request, pb.DeleteResponse).existed


def test_apply_answers_what_translation_says(shared: ControlPlane) -> None:
    request = pb.ApplyRequest(manifest=LOST_ROUTE, source="by hand")
    answer = shared.call("Apply", request, pb.ApplyResponse)
    (status,) = [s for s in answer.statuses if s.severity == "error"]
    assert status.object == "VirtualService default/lost"
    assert status.position == "by hand:9:27"
    assert "nowhere" in status.message


def test_apply_of_a_bad_manifest_changes_nothing(shared: ControlPlane) -> None:
    before = shared.status()["version"]
    bad = ENTRY + "---\nkind: Service\napiVersion: v1\nmetadata: {name: 7}\nspec: {portz: []}\n"
    answer = shared.call("Apply", pb.ApplyRequest(manifest=bad), pb.ApplyResponse)
    assert [s.severity for s in answer.statuses].count("error") >= 1
    assert shared.status()["version"] == before
    assert shared.status()["services"][0]["endpoints_total"] == 0


def code_of(call: Any) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return str(caught.value.code().name)


def test_the_management_api_is_for_the_administrator(shared: ControlPlane) -> None:
    def status(token: str) -> Any:
        return shared.call("GetStatus", pb.GetStatusRequest(), pb.MeshStatus, token)

    assert code_of(lambda: status("guess")) == "UNAUTHENTICATED"
    join_token = shared.join_token("messenger")
    assert code_of(lambda: status(join_token)) == "PERMISSION_DENIED"


def test_join_tokens_have_bounds(shared: ControlPlane) -> None:
    def create(**facts: Any) -> Any:
        return shared.call("CreateJoinToken", pb.CreateJoinTokenRequest(**facts), pb.JoinToken)

    token = create(service_account="messenger")
    assert token.identity == "spiffe://cluster.local/ns/default/sa/messenger"
    assert code_of(lambda: create(service_account="a/b")) == "INVALID_ARGUMENT"
    assert code_of(lambda: create(ttl=Duration(seconds=-1))) == "INVALID_ARGUMENT"


def test_tokens_are_made_listed_and_deleted_on_the_command_line(shared: ControlPlane) -> None:
    def run(*words: str) -> str:
        found = CliRunner().invoke(weft, ["token", *words, "--state-dir", str(shared.state)])
        return found.output or str(found.exception)

    def stands_for(token: str) -> str:
        asked = pb.GetStatusRequest()
        return code_of(lambda: shared.call("GetStatus", asked, pb.MeshStatus, token))

    token = run("create", "shop/cart", "--reusable", "--ttl", "2h").strip()
    assert stands_for(token) == "PERMISSION_DENIED"  # it is no administrator's
    (shown,) = [line for line in run("list").splitlines() if "sa/cart" in line]
    name, identity, *use = shown.split()
    assert (identity, use[:-1]) == (
        "spiffe://cluster.local/ns/shop/sa/cart", ["any", "number", "of", "times"],
    )  # fmt: skip
    assert run("delete", name) == f"{name} deleted\n"
    assert stands_for(token) == "UNAUTHENTICATED"
    assert "no token lives longer" in run("create", "shop/cart", "--ttl", "31d")
    again = json.loads(run("create", "shop/cart", "-o", "json"))
    assert (again["reusable"], again["spent"]) == (False, False)
    assert run("delete", again["token"]) == f"{again['id'][:12]} deleted\n"
    assert "no such join token" in run("delete", name)
    assert "'shop' is not NAMESPACE/ACCOUNT" in run("create", "shop")


def test_watching_tells_every_change(shared: ControlPlane) -> None:
    stream = watch(shared)
    first = next(stream)
    assert first.services[0].endpoints_total == 0
    shared.call("Apply", pb.ApplyRequest(manifest=ENTRY), pb.ApplyResponse)
    second = next(stream)
    assert second.services[0].endpoints_total == 1
    assert second.version != first.version
    stream.cancel()


# --------------------------------------------------------------------------- pages


def test_the_pages(shared: ControlPlane) -> None:
    assert "/metrics" in shared.page("/")[1]
    status, text = shared.page("/metrics")
    assert status == 200
    assert "weft_controlplane_connected_proxies 0.0" in text
    assert 'weft_controlplane_config_statuses{severity="error"} 0.0' in text
    assert shared.page("/debug/config_dump?node=x")[0] == 404
    assert shared.page("/nothing")[0] == 404


def test_what_was_applied_stays_and_registered_workloads_only_over_a_crash(
    config: Path, tmp_path: Path
) -> None:
    def endpoints(plane: ControlPlane) -> int:
        total: int = plane.status()["services"][0]["endpoints_total"]
        return total

    plane = ControlPlane(config, tmp_path / "state").start()
    applied = pb.ApplyRequest(manifest=ENTRY)
    plane.call("Apply", applied, pb.ApplyResponse)
    registered = ENTRY.replace("messenger-1", "messenger-2").replace("9101", "9102")
    plane.call("Apply", pb.ApplyRequest(manifest=registered, transient=True), pb.ApplyResponse)
    assert plane.stop(signal.SIGKILL) == -signal.SIGKILL
    with ControlPlane(config, tmp_path / "state") as again:
        assert endpoints(again) == 2
    with ControlPlane(config, tmp_path / "state") as third:
        assert endpoints(third) == 1


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("postgres://db/weft", "--store postgres://db/weft: expected sqlite:PATH or etcd://HOST["),
        ("etcd://db:x/weft", "--store etcd://db:x/weft: 'db:x' is no HOST:PORT; expected sqlite:"),
        ("sqlite:{state}/mine.db", "the store {state}/mine.db is damaged (it is no database) and"),
        ("etcd://127.0.0.1:1/weft", "the store etcd://127.0.0.1:1/weft needs --state-passphrase"),
    ],
)
def test_a_store_that_can_not_be_used_is_one_line(
    config: Path, tmp_path: Path, place: str, said: str
) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "mine.db").write_text("not a database")
    ports = ("--port", "0", "--mtls-port", "0", "--admin-port", "0")
    options = ("--config", str(config), "--state-dir", str(state), *ports)
    code, _, err = failing(*options, "--store", place.format(state=state))
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith(f"weft: error: {said.format(state=state)}")
