"""What rules of VirtualServices and DestinationRules do to real requests: the same in a real Envoy
and in Weft's proxy, each with our control plane's configuration and one outbound HTTP proxy."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh
from controlplane.translate import build
from tests.support.envoy import envoy
from tests.support.judge import Judge
from tests.support.mesh import TRUST_DOMAIN
from tests.support.wait import eventually_async
from tests.support.weft_proxy import weft_proxy

PROXIES = {"Envoy": envoy, "Weft": weft_proxy}

MANIFESTS = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: a}}
spec:
  hosts: [a.test]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {a}}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: mirror}}
spec:
  hosts: [mirror.test]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {c}}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: spread}}
spec:
  hosts: [spread.test]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints:
  - {{address: 127.0.0.1, ports: {{http: {a}}}, locality: eu/a}}
  - {{address: 127.0.0.1, ports: {{http: {b}}}, locality: eu/a}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: spread}}
spec:
  host: spread.test
  trafficPolicy: {{loadBalancer: {{consistentHash: {{httpHeaderName: x-user}}}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: near}}
spec:
  hosts: [near.test]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints:
  - {{address: 127.0.0.1, ports: {{http: {a}}}, locality: us/x}}
  - {{address: 127.0.0.1, ports: {{http: {b}}}, locality: eu/a}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: near}}
spec: {{host: near.test, trafficPolicy: {{outlierDetection: {{consecutive5xxErrors: 1}}}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: looked-up}}
spec:
  hosts: ["*alhost"]
  ports: [{{number: {b}, name: http, protocol: HTTP}}]
  resolution: DYNAMIC_DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: db}}
spec:
  hosts: [db.test]
  ports: [{{number: 5432, name: tcp, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{tcp: {a}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: db}}
spec:
  hosts: [db.test]
  tcp: [{{match: [{{port: 5432, sourceLabels: {{app: me}}}}],
    route: [{{destination: {{host: spread.test}}}}]}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: narrow}}
spec:
  hosts: [narrow.test]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {a}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: narrow}}
spec:
  host: narrow.test
  trafficPolicy:
    connectionPool: {{tcp: {{maxConnections: 1}}, http: {{http1MaxPendingRequests: 1}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: delegate}}
spec:
  http: [{{match: [{{uri: {{prefix: /d/}}}}], rewrite: {{uri: /delegated/}},
    route: [{{destination: {{host: a.test}}}}]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: a}}
spec:
  hosts: [a.test]
  http:
  - match: [{{uri: {{prefix: /fault}}}}]
    fault: {{abort: {{httpStatus: 418, percentage: {{value: 100}}}}}}
    route: [{{destination: {{host: a.test}}}}]
  - match: [{{uri: {{prefix: /mirrored}}}}]
    mirrors: [{{destination: {{host: mirror.test}}}}]
    route: [{{destination: {{host: a.test}}}}]
  - match: [{{uri: {{prefix: /cors}}}}]
    corsPolicy:
      allowOrigins: [{{exact: "http://web.test"}}]
      allowMethods: [PUT]
      maxAge: 60s
    route: [{{destination: {{host: a.test}}}}]
  - match: [{{uri: {{prefix: /users/}}}}]
    rewrite: {{uriRegexRewrite: {{match: "^/users/([^/]+)/(.*)$", rewrite: '/\\2/of/\\1'}}}}
    route: [{{destination: {{host: a.test}}}}]
  - match: [{{uri: {{exact: /moved}}}}]
    redirect: {{uri: /new, derivePort: FROM_REQUEST_PORT, redirectCode: 308}}
  - match: [{{uri: {{prefix: /old/}}}}]
    redirect: {{prefixRewrite: /new/, authority: other.test}}
  - match: [{{uri: {{exact: /never}}}}]
    timeout: 50ms
    route: [{{destination: {{host: a.test}}}}]
  - match: [{{uri: {{exact: /shifted}}}}]
    route:
    - {{destination: {{host: a.test}}, weight: 0}}
    - {{destination: {{host: mirror.test}}, weight: 100}}
  - match: [{{uri: {{exact: /long}}}}]
    directResponse: {{status: 200, body: {{string: "{long}"}}}}
  - match: [{{uri: {{prefix: /s}}, scheme: {{exact: https}}}}]
    directResponse: {{status: 500}}
  - match: [{{uri: {{prefix: /q}}, queryParams: {{v: {{exact: "2"}}}},
      withoutHeaders: {{x-no: {{}}, x-kind: {{exact: b}}}}}}]
    directResponse: {{status: 202}}
  - match: [{{uri: {{prefix: /d/}}}}]
    delegate: {{name: delegate}}
  - route: [{{destination: {{host: a.test}}}}]
"""
LONG = "x" * 9000


@dataclass(slots=True)
class Backend:
    """Answers each request with its name and what was asked for; /never once it is `open`."""

    name: str
    port: int = 0
    asked: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                path = head.split(" ", 2)[1]
                host = next(x[6:] for x in head.split("\r\n") if x.lower().startswith("host: "))
                self.asked.append(f"{host}{path}")
                if path == "/never":
                    await self.open.wait()
                body = f"{self.name} {path}".encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        except (EOFError, OSError):
            writer.close()


@dataclass(slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str


@dataclass(slots=True)
class Meshed:
    proxy_port: int
    backends: dict[str, Backend]

    async def get(self, host: str, path: str = "/", method: str = "GET", **headers: str) -> Answer:
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = [f"{method} {path} HTTP/1.1", f"host: {host}", "connection: close", *lines]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy_port)
        writer.write("\r\n".join([*head, "", ""]).encode())
        answer = await read_answer(reader)
        writer.close()
        return answer

    async def tunnelled(self, place: str) -> str:
        """The answer to a request in a tunnel to `place`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy_port)
        writer.write(f"CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET /inside HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = await read_answer(reader)
        writer.close()
        return answer.body


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(first.split(" ")[1]), headers, body.decode())


def mesh_of(backends: dict[str, Backend]) -> Mesh:
    ports = {name: backend.port for name, backend in backends.items()}
    parsed = parse(MANIFESTS.format(**ports, long=LONG), "rules.yaml")
    assert not parsed.has_errors, parsed.statuses
    mesh, statuses = build(Snapshot(parsed.objects), TRUST_DOMAIN)
    assert not [status for status in statuses if status.severity == "error"], statuses
    return mesh


@asynccontextmanager
async def meshed(directory: Path, proxy: str) -> AsyncIterator[Meshed]:
    backends = {name: Backend(name) for name in ("a", "b", "c")}
    servers = []
    for backend in backends.values():
        server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
        backend.port = server.sockets[0].getsockname()[1]
        servers.append(server)
    judge = Judge()
    judge.cache.set_mesh(mesh_of(backends))
    await judge.server.start()
    bootstrap = judge.bootstrap(delta=True)
    bootstrap["node"]["locality"] = {"region": "eu", "zone": "a"}
    sidecar = PROXIES[proxy](bootstrap, directory)
    await asyncio.to_thread(sidecar.start)
    try:
        await eventually_async(judge.has_all, 20.0, "the listeners are there")
        yield Meshed(int(bootstrap["node"]["metadata"]["HTTP_PROXY_PORT"]), backends)
    finally:
        await asyncio.to_thread(sidecar.stop)
        await judge.server.stop(0)
        for server in servers:
            server.close()


@pytest.mark.parametrize("proxy", PROXIES)
async def test_rules_do_what_istio_says(tmp_path: Path, proxy: str) -> None:
    async with meshed(tmp_path, proxy) as mesh:
        await http_rules(mesh)
        await policies(mesh)
        await other_ways(mesh)


async def http_rules(mesh: Meshed) -> None:
    assert (await mesh.get("a.test", "/fault")).status == 418
    assert (await mesh.get("a.test", "/users/7/posts?x=1")).body == "a /posts/of/7?x=1"
    assert (await mesh.get("a.test", "/d/1")).body == "a /delegated/1"
    assert (await mesh.get("a.test", "/s")).body == "a /s"
    assert (await mesh.get("a.test", "/q?v=2")).status == 202
    assert (await mesh.get("a.test", "/q?v=2", x_kind="c")).status == 202
    assert (await mesh.get("a.test", "/q?v=2", x_kind="b")).body == "a /q?v=2"
    assert (await mesh.get("a.test", "/q?v=2", x_no="1")).body == "a /q?v=2"
    assert (await mesh.get("a.test", "/long")).body == LONG
    moved = await mesh.get("a.test", "/moved")
    assert (moved.status, moved.headers["location"]) == (308, "http://a.test:80/new")
    renamed = await mesh.get("a.test", "/old/b?c")
    assert (renamed.status, renamed.headers["location"]) == (301, "http://other.test/new/b?c")
    assert (await mesh.get("a.test", "/never")).status == 504
    assert (await mesh.get("a.test", "/shifted")).body == "c /shifted"
    allowed = await mesh.get("a.test", "/cors", origin="http://web.test")
    assert allowed.headers["access-control-allow-origin"] == "http://web.test"
    other = await mesh.get("a.test", "/cors", origin="http://other.test")
    assert "access-control-allow-origin" not in other.headers
    asking = {"origin": "http://web.test", "access_control_request_method": "PUT"}
    preflight = await mesh.get("a.test", "/cors", "OPTIONS", **asking)
    assert preflight.headers["access-control-allow-methods"] == "PUT"
    assert preflight.headers["access-control-max-age"] == "60"
    assert (await mesh.get("a.test", "/mirrored/1")).body == "a /mirrored/1"
    copies = mesh.backends["c"].asked
    await eventually_async(lambda: len(copies) > 1, 10.0, "the copy came")
    assert copies == ["a.test/shifted", "a.test-shadow/mirrored/1"]


async def policies(mesh: Meshed) -> None:
    """The key chooses the endpoint, and the client's place does."""
    users = [f"user-{number}" for number in range(12)]
    first = [(await mesh.get("spread.test", x_user=user)).body for user in users]
    again = [(await mesh.get("spread.test", x_user=user)).body for user in users]
    assert first == again
    assert len(Counter(first)) == 2
    assert {(await mesh.get("near.test")).body for _ in range(6)} == {"b /"}
    async with asyncio.TaskGroup() as group:
        asked = mesh.backends["a"].asked
        crowd = [group.create_task(mesh.get("narrow.test", "/never"))]
        await eventually_async(lambda: asked[-1] == "narrow.test/never", 10.0, "one is served")
        crowd += [group.create_task(mesh.get("narrow.test", "/never")) for _ in range(4)]
        await eventually_async(lambda: sum(one.done() for one in crowd) >= 3, 10.0, "3 are refused")
        mesh.backends["a"].open.set()
    assert sorted(one.result().status for one in crowd) == [200, 200, 503, 503, 503]


async def other_ways(mesh: Meshed) -> None:
    """A rule for connections, and a host that is looked up when it is asked for."""
    assert await mesh.tunnelled("db.test:5432") in ("a /inside", "b /inside")
    seen = mesh.backends["a"].asked + mesh.backends["b"].asked
    assert "x/inside" in seen
    port = mesh.backends["b"].port
    assert (await mesh.get(f"localhost:{port}", "/looked-up")).body == "b /looked-up"
