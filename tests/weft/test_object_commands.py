"""`weft apply`, `get`, `delete`, `proxies`: what they print and their exit codes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import yaml
from click.testing import CliRunner, Result
from google.protobuf.message import Message

from protos.gen.weft.v1 import management_pb2 as pb
from tests.support.pki import Authority
from weft.bootstrap import CONTROL_PLANE_NAME
from weft.cli import guarded, weft
from weft.management import STORE_AWAY

AUTHORITY = Authority("here")
ROUTE = "kind: VirtualService\nmetadata: {name: till}\n"
ERROR = pb.ObjectStatus(
    object="VirtualService default/till",
    severity="error",
    code="UnknownService",
    message="no such service",
    position="r.yaml:2:1",
)
STORED = pb.StoredObject(
    kind="VirtualService",
    namespace="default",
    name="till",
    source="api",
    position="r.yaml:1:1",
    manifest='{"kind": "VirtualService", "metadata": {"name": "till"}}',
    statuses=[ERROR],
)
OF_FILE = pb.StoredObject(
    kind="Service", namespace="default", name="till", source="file", position="a.yaml:1:1"
)
CREATED = pb.AppliedObject(
    kind="VirtualService", namespace="default", name="till", change="created"
)


class FakePlane:
    """A management API that answers what it was given, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Message] = {
            "Apply": pb.ApplyResponse(objects=[CREATED]),
            "List": pb.ListResponse(),
            "Delete": pb.DeleteResponse(),
            "ListProxies": pb.ListProxiesResponse(),
            "GetStatus": pb.MeshStatus(),
        }
        self.asked: dict[str, Any] = {}
        self.port = 0
        self.away = ""
        self.events: list[pb.WatchEvent] = []

    def handler(self, name: str, request: Any) -> Any:
        async def answer(data: bytes, context: Any) -> bytes:
            if self.away:
                await context.abort(grpc.StatusCode.UNAVAILABLE, self.away, (STORE_AWAY,))
            self.asked[name] = request.FromString(data)
            return self.answers[name].SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)

    def watcher(self) -> Any:
        async def tell(data: bytes, context: object) -> AsyncIterator[bytes]:
            self.asked["Watch"] = pb.ListRequest.FromString(data)
            for one in self.events:
                yield one.SerializeToString()

        return grpc.unary_stream_rpc_method_handler(tell)

    async def serve(self, ready: Callable[[], None], done: asyncio.Event) -> None:
        pair = AUTHORITY.issue(dns=(CONTROL_PLANE_NAME,))
        server = grpc.aio.server()
        handlers = {
            "Apply": self.handler("Apply", pb.ApplyRequest),
            "List": self.handler("List", pb.ListRequest),
            "Watch": self.watcher(),
            "Delete": self.handler("Delete", pb.DeleteRequest),
            "ListProxies": self.handler("ListProxies", pb.ListProxiesRequest),
            "GetStatus": self.handler("GetStatus", pb.GetStatusRequest),
        }
        generic = grpc.method_handlers_generic_handler("weft.v1.Management", handlers)
        server.add_generic_rpc_handlers((generic,))
        keys = [(pair.key.encode(), pair.certificate.encode())]
        self.port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(keys))
        await server.start()
        ready()
        await done.wait()
        await server.stop(0)


@pytest.fixture
def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePlane]:
    """Found in .weft of the working directory."""
    monkeypatch.chdir(tmp_path)
    made, loop, done = FakePlane(), asyncio.new_event_loop(), asyncio.Event()
    ready = threading.Event()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(made.serve(ready.set, done)), daemon=True
    )
    thread.start()
    ready.wait(20)
    state = tmp_path / ".weft"
    state.mkdir()
    address = f"127.0.0.1:{made.port}"
    found = {"pid": 1, "address": address, "mtls_address": address, "admin_address": address}
    (state / "controlplane.json").write_text(json.dumps(found))
    (state / "root.pem").write_text(AUTHORITY.pem)
    (state / "admin.token").write_text("secret\n")
    (tmp_path / "r.yaml").write_text(ROUTE)
    yield made
    loop.call_soon_threadsafe(done.set)
    thread.join(20)
    loop.close()


def run(*words: str, text: str = "") -> Result:
    runner = CliRunner()
    return runner.invoke(weft, [*words], input=text)


def refused(result: Result) -> str:
    """The text of the error that the command line would print."""
    assert result.exit_code == 1
    with pytest.raises(SystemExit):
        guarded(lambda: (_ for _ in ()).throw(result.exception))  # type: ignore[arg-type]
    return str(result.exception)


def texts(asked: Any) -> dict[str, str]:
    return {one.source: one.text for one in asked.manifests}


def test_applying_says_what_became_of_each_object(plane: FakePlane) -> None:
    found = run("apply", "-f", "r.yaml")
    assert (found.exit_code, found.stdout) == (0, "VirtualService default/till created\n")
    asked = plane.asked["Apply"]
    assert texts(asked) == {"r.yaml": ROUTE}
    assert not asked.dry_run and not asked.HasField("wait")


def test_a_dry_run_is_told_from_the_real_one(plane: FakePlane) -> None:
    found = run("apply", "-f", "-", "--dry-run", text=ROUTE)
    assert found.stdout.endswith("created (dry run)\n")
    assert (texts(plane.asked["Apply"]), plane.asked["Apply"].dry_run) == ({"stdin": ROUTE}, True)


def test_all_files_are_one_call(plane: FakePlane, tmp_path: Path) -> None:
    deep = tmp_path / "mesh" / "deep"
    deep.mkdir(parents=True)
    (deep / "b.yml").write_text(ROUTE)
    (deep / ".b.yml.swp").write_text("x")
    assert "mesh has no manifests: none of" in refused(run("apply", "-f", "mesh"))
    assert "with -R those of the folders in it" in refused(run("apply", "-f", "mesh"))
    assert run("apply", "-f", "mesh", "-R", "-f", "r.yaml").exit_code == 0
    assert list(texts(plane.asked["Apply"])) == ["mesh/deep/b.yml", "r.yaml"]


def test_a_store_that_is_away_is_told_as_it_is(plane: FakePlane) -> None:
    plane.away = "the store etcd://here/weft can't be reached: nothing was changed"
    assert refused(run("apply", "-f", "r.yaml")) == plane.away


def test_errors_are_told_and_the_exit_code_is_1(plane: FakePlane) -> None:
    plane.answers["Apply"] = pb.ApplyResponse(statuses=[ERROR])
    found = run("apply", "-f", "r.yaml")
    assert (found.exit_code, found.stdout) == (1, "")
    assert "r.yaml:2:1: error: no such service (VirtualService default/till)" in found.stderr
    assert "correct the errors and apply again" in found.stderr


def test_waiting_says_on_how_many_proxies_it_is_live(plane: FakePlane) -> None:
    rollout = pb.Rollout(concerned=3, live=3, over=True)
    plane.answers["Apply"] = pb.ApplyResponse(objects=[CREATED], rollout=rollout)
    found = run("apply", "-f", "r.yaml", "--wait", "--timeout", "7")
    assert plane.asked["Apply"].wait.seconds == 7
    assert found.exit_code == 0
    assert found.stdout.splitlines()[-1] == "live on 3 of 3 proxies"
    rollout = pb.Rollout(over=True)
    plane.answers["Apply"] = pb.ApplyResponse(objects=[CREATED], rollout=rollout)
    found = run("apply", "-f", "r.yaml", "--wait")
    assert found.stdout.splitlines()[-1] == "live: no proxy has to change for it"


@pytest.mark.parametrize(
    ("rollout", "why"),
    [
        (pb.Rollout(concerned=3, live=2), "not everywhere after 30 s; see `weft proxies`"),
        (
            pb.Rollout(
                concerned=1, refused=[pb.Refusal(node_id="a", message="bad filter")], over=True
            ),
            "a refused it: bad filter",
        ),
    ],
)
def test_a_change_that_is_not_everywhere_is_1(
    plane: FakePlane, rollout: pb.Rollout, why: str
) -> None:
    plane.answers["Apply"] = pb.ApplyResponse(objects=[CREATED], rollout=rollout)
    found = run("apply", "-f", "r.yaml", "--wait")
    assert found.exit_code == 1
    assert why in found.stderr


def test_get_shows_source_and_what_is_said(plane: FakePlane) -> None:
    plane.answers["List"] = pb.ListResponse(objects=[STORED, OF_FILE])
    found = run("get", "all", "-l", "a=b,c=", "-A")
    heading, first, second = found.stdout.splitlines()
    assert heading.split() == ["KIND", "NAMESPACE", "NAME", "SOURCE", "SAID", "AT"]
    assert first.split() == ["VirtualService", "default", "till", "api", "1", "error", "r.yaml:1:1"]
    assert second.split() == ["Service", "default", "till", "file", "-", "a.yaml:1:1"]
    asked = plane.asked["List"]
    assert (asked.kind, asked.namespace, dict(asked.labels)) == ("", "", {"a": "b", "c": ""})


@pytest.mark.parametrize(("output", "load"), [("yaml", yaml.safe_load), ("json", json.loads)])
def test_get_of_one_is_what_was_written_and_its_status(
    plane: FakePlane, output: str, load: Callable[[str], Any]
) -> None:
    plane.answers["List"] = pb.ListResponse(objects=[STORED])
    tree = load(run("get", "vs", "till", "-o", output).stdout)
    assert (tree["kind"], tree["metadata"]) == ("VirtualService", {"name": "till"})
    assert tree["status"]["weft"]["source"] == "api"
    assert tree["status"]["weft"]["statuses"][0]["code"] == "UnknownService"
    assert plane.asked["List"].manifests


def test_a_name_may_stand_behind_the_kind(plane: FakePlane) -> None:
    plane.answers["List"] = pb.ListResponse(objects=[STORED])
    assert run("get", "vs/till").exit_code == 0
    assert (plane.asked["List"].kind, plane.asked["List"].name) == ("vs", "till")
    plane.answers["Delete"] = pb.DeleteResponse(existed=True)
    assert run("delete", "vs/till").stdout == "vs default/till deleted\n"
    assert (plane.asked["Delete"].kind, plane.asked["Delete"].name) == ("vs", "till")


def test_status_for_programs(plane: FakePlane) -> None:
    proxy = pb.ProxyStatus(node_id="n", workload="till-1", namespace="default")
    proxy.last_push_at.FromSeconds(1)
    service = pb.ServiceStatus(hostname="till", endpoints_total=2, endpoints_healthy=1)
    note = pb.ObjectStatus(object="Service default/till", severity="info", code="NoEffect")
    plane.answers["GetStatus"] = pb.MeshStatus(
        proxies=[proxy], services=[service], objects=[ERROR, note]
    )
    found = run("status", "-o", "json")
    told = json.loads(found.stdout)
    assert found.exit_code == 1
    assert [one["code"] for one in told["objects"]] == ["UnknownService"]
    assert told["services"][0]["endpoints"] == {"total": 2, "healthy": 1}
    assert told["proxies"][0]["state"] == "on its way"
    assert told["proxies"][0]["lastPush"] == "1970-01-01T00:00:01+00:00"
    both = yaml.safe_load(run("status", "--notes", "-o", "yaml").stdout)
    assert [one["code"] for one in both["objects"]] == ["UnknownService", "NoEffect"]


def test_what_is_not_there_says_where_to_look(plane: FakePlane) -> None:
    assert "see: weft get vs -A" in refused(run("get", "vs", "nope"))
    found = run("delete", "vs", "nope")
    assert (found.exit_code, found.stdout) == (1, "")
    assert "there is no vs nope in namespace default; see: weft get vs -A" in found.stderr
    assert "nowhere.yaml can not be read" in refused(run("apply", "-f", "nowhere.yaml"))


def test_what_a_file_has_is_to_be_deleted_there(plane: FakePlane) -> None:
    plane.answers["List"] = pb.ListResponse(objects=[OF_FILE])
    found = run("delete", "svc", "till")
    assert found.exit_code == 1
    assert "it is at a.yaml:1:1; delete it in the file" in found.stderr


def test_deleting_says_so(plane: FakePlane) -> None:
    plane.answers["Delete"] = pb.DeleteResponse(existed=True)
    found = run("delete", "vs", "till", "-n", "shop")
    assert (found.exit_code, found.stdout) == (0, "vs shop/till deleted\n")
    assert plane.asked["Delete"].namespace == "shop"
    assert not plane.asked["Delete"].HasField("wait")


def test_deleting_what_manifests_have_and_waiting(plane: FakePlane, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"apiVersion: networking.istio.io/v1\n{ROUTE}")
    plane.answers["Delete"] = pb.DeleteResponse(
        existed=True, rollout=pb.Rollout(concerned=2, live=1)
    )
    found = run("delete", "-f", "r.yaml", "--wait", "--timeout", "3")
    assert plane.asked["Delete"].kind == "VirtualService.networking.istio.io"
    assert plane.asked["Delete"].wait.seconds == 3
    assert found.stdout == "VirtualService default/till deleted\nlive on 1 of 2 proxies\n"
    assert found.exit_code == 1
    for words in (("vs",), (), ("vs", "till", "-f", "r.yaml")):
        assert "name what to delete: KIND and NAME, or manifests" in run("delete", *words).stderr


def test_watching_shows_what_there_is_and_then_each_change(plane: FakePlane) -> None:
    plane.events = [
        pb.WatchEvent(type="added", object=STORED),
        pb.WatchEvent(type="synced"),
        pb.WatchEvent(type="deleted", object=STORED),
    ]
    found = run("get", "vs", "-w")
    heading, there, gone = found.stdout.splitlines()
    assert (heading.split()[-1], there.split()[-1], gone.split()[-1]) == ("CHANGE", "-", "deleted")
    assert "the control plane has ended the watch" in refused(found)
    assert plane.asked["Watch"].kind == "vs"


def test_proxies_show_what_they_hold_and_refuse(plane: FakePlane) -> None:
    status = pb.ProxyStatus(node_id="n", workload="till-1", namespace="default", synced=True)
    types = [
        pb.TypeSync(type_url="t/envoy.Cluster", sent_version="2", acked_version="2", resources=3),
        pb.TypeSync(type_url="t/envoy.Listener", sent_version="2", acked_version="1", resources=1),
    ]
    plane.answers["ListProxies"] = pb.ListProxiesResponse(
        proxies=[pb.Proxy(status=status, variant="delta", types=types)]
    )
    found = run("proxies")
    assert found.exit_code == 0
    assert found.stdout.splitlines()[1].split() == [
        "till-1",
        "default",
        "synced",
        "delta",
        "1/2",
        "3",
        "-",
    ]
    status.nacks.append(pb.Nack(message="bad filter"))
    status.left_out.append("EnvoyFilter default/f spec.configPatches[0]: cluster x is not there")
    plane.answers["ListProxies"] = pb.ListProxiesResponse(
        proxies=[pb.Proxy(status=status, variant="delta", types=types)]
    )
    found = run("proxies", "-o", "json")
    (told,) = json.loads(found.stdout)
    assert (told["state"], told["nacks"], found.exit_code) == ("refused", ["bad filter"], 1)
    assert told["leftOut"] == list(status.left_out)
    assert f"n does without {status.left_out[0]}" in run("proxies").stderr
    assert told["types"]["Listener"] == {"sent": "2", "acknowledged": "1", "resources": 1}
