"""The tasks of Istio's documentation, by real requests: a real Envoy and Weft's proxy do the same
with what our control plane makes of them (tests/support/istio_tasks.yaml). One proxy is the
client's sidecar and the gateways; its mesh has all of the tasks at once."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh
from controlplane.translate import build
from tests.support.authz_server import AuthzServer
from tests.support.echo_backends import Backend, serving
from tests.support.echo_client import Answer, Ask, ask, exchange
from tests.support.envoy import envoy
from tests.support.judge import Judge
from tests.support.mesh import TRUST_DOMAIN
from tests.support.pki import Authority
from tests.support.ports import free_port
from tests.support.raw_tcp import TcpServer
from tests.support.wait import eventually_async
from tests.support.weft_proxy import weft_proxy

PROXIES = {"Envoy": envoy, "Weft": weft_proxy}
TASKS = Path(__file__).parents[2] / "support" / "istio_tasks.yaml"
NAMES = ("v1", "v2", "v3", "ratings", "httpbin", "cnn", "inside")
GATEWAYS = {
    "ingress": "a",
    "istio": "b",
    "gateway-api": "c",
    "egress": "d",
    "moved": "e",
    "tunnel": "f",
}


@dataclass(slots=True)
class Tasks:
    """ports: of the gateways, and `mesh`, where the application sends its requests."""

    ports: Mapping[str, int]
    backends: Mapping[str, Backend]

    async def get(self, host: str, path: str = "/", at: str = "mesh", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await ask(self.ports[at], Ask(host, path, headers=named))

    async def served_by(self, host: str, path: str = "/", at: str = "mesh", **headers: str) -> str:
        """Who answered with 200."""
        answer = await self.get(host, path, at, **headers)
        assert answer.status == 200, (host, path, answer)
        return str(answer.told["service"])


def mesh_of(facts: Mapping[str, object]) -> Mesh:
    text = TASKS.read_text("utf-8")
    for name, value in facts.items():
        text = text.replace(f"@{name}@", str(value))
    parsed = parse(text, TASKS.name)
    mesh, statuses = build(Snapshot(parsed.objects, parsed.statuses), TRUST_DOMAIN)
    assert not [one for one in statuses if one.severity == "error"], statuses
    return mesh


@asynccontextmanager
async def running(directory: Path, proxy: str) -> AsyncIterator[Tasks]:
    backends = {name: Backend("tasks", name) for name in (*NAMES, "secure")}
    authority = Authority()
    (roots := directory / "roots.pem").write_text(authority.pem)
    pair = authority.issue(dns=("secure.cnn.test",)).write(directory, "secure")
    async with AsyncExitStack() as stack:
        plain = [backends[name] for name in NAMES]
        await stack.enter_async_context(serving(plain))
        await stack.enter_async_context(serving([backends["secure"]], _server(pair)))
        gateways = {letter: free_port() for letter in GATEWAYS.values()}
        court = stack.enter_context(AuthzServer())
        facts: dict[str, object] = {name: one.port for name, one in backends.items()}
        forward = stack.enter_context(TcpServer(let_through))
        facts |= gateways | {"roots": roots, "court": court.port, "forward": forward.port}
        judge = Judge()
        judge.cache.set_mesh(mesh_of(facts))
        await judge.server.start()
        stack.push_async_callback(judge.server.stop, 0)
        bootstrap = judge.bootstrap(delta=True)
        sidecar = PROXIES[proxy](bootstrap, directory)
        await asyncio.to_thread(sidecar.start)
        stack.push_async_callback(asyncio.to_thread, sidecar.stop)
        await eventually_async(judge.has_all, 30.0, "the listeners are there")
        ports = {name: gateways[letter] for name, letter in GATEWAYS.items()}
        mesh_port = int(bootstrap["node"]["metadata"]["HTTP_PROXY_PORT"])
        yield Tasks({"mesh": mesh_port} | ports, backends)


def _server(pair: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


@pytest.mark.parametrize("proxy", PROXIES)
async def test_tasks_do_what_istio_documents(tmp_path: Path, proxy: str) -> None:
    async with running(tmp_path, proxy) as tasks:
        await request_routing(tasks)
        await fault_injection(tasks)
        await traffic_shifting(tasks)
        await request_timeouts(tasks)
        await retries(tasks)
        await mirroring(tasks)
        await circuit_breaking(tasks)
        await outlier_detection(tasks)
        await egress(tasks)
        await egress_by_a_proxy(tasks)
        await ingress(tasks)
        for host, at in (("many.test", "mesh"), ("many.example.com", "gateway-api")):
            await sessions(tasks, host, at)
            await asking_others(tasks, host, at)


async def request_routing(tasks: Tasks) -> None:
    assert {await tasks.served_by("reviews:9080") for _ in range(4)} == {"v1"}
    assert await tasks.served_by("reviews:9080", end_user="jason") == "v2"
    assert await tasks.served_by("reviews:9080", end_user="jasons") == "v1"


async def fault_injection(tasks: Tasks) -> None:
    assert (await tasks.get("ratings:9080", end_user="jason")).status == 500
    asked_at = monotonic()
    assert await tasks.served_by("ratings:9080", end_user="late") == "ratings"
    assert monotonic() - asked_at >= 0.3  # no machine is too slow for that
    assert await tasks.served_by("ratings:9080") == "ratings"


async def traffic_shifting(tasks: Tasks) -> None:
    """Of 60 each version has some, and the third none: that it is not so, 1 in 2 ** 59 times."""
    assert {await tasks.served_by("shifted:9080") for _ in range(60)} == {"v1", "v3"}


async def request_timeouts(tasks: Tasks) -> None:
    assert (await tasks.get("slow:9080", "/held")).status == 504
    tasks.backends["v2"].open.set()


async def retries(tasks: Tasks) -> None:
    seen = tasks.backends["v3"].seen
    assert (await tasks.get("patient:9080", "/asked?status=503")).status == 503
    assert seen.count("/asked?status=503") == 4
    assert (await tasks.get("patient:9080", "/none?status=503")).status == 503
    assert seen.count("/none?status=503") == 1


async def mirroring(tasks: Tasks) -> None:
    assert await tasks.served_by("mirrored:9080", "/seen-twice") == "v1"
    async with asyncio.timeout(30):
        await tasks.backends["v2"].saw("/seen-twice")


async def circuit_breaking(tasks: Tasks) -> None:
    """One is served, one waits, and the others are told at once."""
    backend = tasks.backends["httpbin"]
    async with asyncio.TaskGroup() as group:
        crowd = [group.create_task(tasks.get("httpbin:8000", "/held"))]
        await eventually_async(lambda: backend.held == 1, 30.0, "one is served")
        crowd += [group.create_task(tasks.get("httpbin:8000", "/held")) for _ in range(4)]
        await eventually_async(lambda: sum(o.done() for o in crowd) == 3, 30.0, "3 are refused")
        backend.open.set()
    assert sorted(one.result().status for one in crowd) == [200, 200, 503, 503, 503]
    refused = next(one.result() for one in crowd if one.result().status == 503)
    assert refused.headers["x-envoy-overloaded"] == "true"


async def outlier_detection(tasks: Tasks) -> None:
    assert (await tasks.get("tripping:8000", "/?status=500")).status == 500
    async with asyncio.timeout(30):
        answer = await tasks.get("tripping:8000")
        while answer.status == 200:
            answer = await tasks.get("tripping:8000")
    assert (answer.status, answer.body) == (503, b"no healthy upstream")


async def egress(tasks: Tasks) -> None:
    """To a service outside of the mesh: plainly, with TLS that the proxy originates, and through a
    gateway; what nobody has named is not reached."""
    assert await tasks.served_by("edition.cnn.test") == "cnn"
    secured = await tasks.get("secure.cnn.test", "/politics")
    assert (secured.told["service"], secured.told["host"]) == ("secure", "secure.cnn.test")
    through = await tasks.get("through.cnn.test", "/a")
    assert (through.told["service"], through.told["headers"]["x-through"]) == ("cnn", ["egress"])
    assert (await tasks.get("unknown.cnn.test")).status in (404, 502)


def let_through(sock: socket.socket) -> None:
    """A forward proxy, and what is behind it: who asks for what, and what it says, in capitals."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    sock.sendall(head.split(b"\r\n")[0] + b": " + sock.recv(100).upper())


async def egress_by_a_proxy(tasks: Tasks) -> None:
    """DestinationRule's tunnel."""
    heard = await exchange(tasks.ports["tunnel"], b"hello")
    assert heard == b"CONNECT outside.test:443 HTTP/1.1: HELLO"


async def ingress(tasks: Tasks) -> None:
    """By Istio's Gateway, by an Ingress, and by Gateway API."""
    assert await tasks.served_by("httpbin.example.com", "/status/200", "istio") == "ratings"
    assert (await tasks.get("httpbin.example.com", "/headers", "istio")).status == 404
    assert (await tasks.get("other.example.com", "/status/200", "istio")).status == 404
    moved = await tasks.get("any.example.com", "/a?b", "moved")
    assert (moved.status, moved.headers["location"]) == (301, "https://any.example.com/a?b")
    assert await tasks.served_by("ingress.example.com", "/status/200", "ingress") == "inside"
    assert (await tasks.get("ingress.example.com", "/headers", "ingress")).status == 404
    got = await tasks.get("api.example.com", "/get/1", "gateway-api")
    assert (got.told["service"], got.told["path"]) == ("inside", "/got/1")
    assert got.told["headers"]["my-added-header"] == ["added-value"]
    gone = await tasks.get("api.example.com", "/old", "gateway-api")
    assert (gone.status, gone.headers["location"]) == (302, "http://new.example.com:82/old")
    assert (await tasks.get("api.example.com", "/other", "gateway-api")).status == 404


async def sessions(tasks: Tasks, host: str, at: str) -> None:
    """Gateway API's sessionPersistence: who says whom it met meets no other. Of 40 others all have
    had the same, 1 in 3 ** 39 times."""
    first = await tasks.get(host, "/cookie/1", at)
    cookie = first.headers["set-cookie"]
    assert cookie.endswith("; Max-Age=3600; Path=/cookie; HttpOnly")
    own = {"cookie": cookie.partition(";")[0]}
    mine = {await tasks.served_by(host, "/cookie/2", at, **own) for _ in range(12)}
    assert mine == {first.told["service"]}
    assert "set-cookie" not in (await tasks.get(host, "/cookie/3", at, **own)).headers
    assert len({await tasks.served_by(host, "/other", at, **own) for _ in range(40)}) > 1
    header = (await tasks.get(host, "/header", at)).headers["x-session"]
    assert (
        len({await tasks.served_by(host, "/header", at, x_session=header) for _ in range(12)}) == 1
    )


async def asking_others(tasks: Tasks, host: str, at: str) -> None:
    """Gateway API's ExternalAuth, over HTTP and gRPC."""
    judge = tasks.backends["ratings"].seen
    tell = {"x-echo-set-header": "x-verdict:yes"}
    got = await tasks.get(host, "/http/a", at, **tell)
    assert (got.status, judge[-1]) == (200, "/check/http/a")
    assert got.told["headers"]["x-verdict"] == ["yes"]
    assert got.told["host"] == host
    assert (await tasks.get(host, "/http/a?status=401", at)).status == 401
    assert (await tasks.get(host, "/other", at)).status == 200
    assert (await tasks.get(host, "/grpc/a", at)).status == 200
    refused = await tasks.get(host, "/grpc/a", at, x_answer='{"status": {"code": 7}}')
    assert refused.status == 403
