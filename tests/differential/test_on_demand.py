"""On demand, Envoy and Weft beside one control plane: virtual hosts and clusters come by name.

Each proxy is asked the same; answers, flags and details of the access log must be equal. What only
differs in who is asked how often stands in the proxies' own tests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import envoy.extensions.access_loggers.file.v3.file_pb2
import envoy.extensions.filters.http.on_demand.v3.on_demand_pb2  # noqa: F401  for Any
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf import json_format

from protos.types import CDS, EDS, LDS, RDS, VHDS
from tests.support.client import Client
from tests.support.envoy import envoy as envoy_process
from tests.support.envoy import require_envoy
from tests.support.envoy_resources import ADS, EXTENSIONS, bootstrap_file, cluster, endpoints
from tests.support.fake_demand import FakeDemand
from tests.support.ports import free_port
from tests.support.process import ProxyProcess
from tests.support.upstream import Answer, Upstream
from tests.support.weft_proxy import weft_proxy

TCP_LOG = "%RESPONSE_FLAGS% %BYTES_RECEIVED% %UPSTREAM_CLUSTER%\n"
RELAYED = ("there", "missing", "never")
LOG = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED%\n"
ANY = {"prefix": "/"}
Make = Callable[[dict[str, Any], Path], ProxyProcess]


def filters(name: str, **fields: object) -> dict[str, Any]:
    kind = {"on_demand": "on_demand.v3.OnDemand", "router": "router.v3.Router"}[name]
    config = {"@type": f"{EXTENSIONS}filters.http.{kind}", **fields}
    return {"name": f"envoy.filters.http.{name}", "typed_config": config}


def listener(port: int, log: Path) -> listener_pb2.Listener:
    access_log = {
        "@type": f"{EXTENSIONS}access_loggers.file.v3.FileAccessLog",
        "path": str(log),
        "log_format": {"text_format_source": {"inline_string": LOG}},
    }
    manager = {
        "stat_prefix": "test",
        "rds": {"route_config_name": "table", "config_source": ADS},
        "access_log": [{"name": "file", "typed_config": access_log}],
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            filters("on_demand", odcds={"source": ADS, "timeout": "0.3s"}),
            filters("router"),
        ],
    }
    message = listener_pb2.Listener(name="l")
    message.address.socket_address.address = "127.0.0.1"
    message.address.socket_address.port_value = port
    hcm = json_format.ParseDict(manager, hcm_pb2.HttpConnectionManager())
    message.filter_chains.add().filters.add(name="hcm").typed_config.Pack(hcm)
    return message


def tcp_listener(port: int, log: Path, target: str) -> listener_pb2.Listener:
    """Relays to a cluster that it waits for."""
    access_log = {
        "@type": f"{EXTENSIONS}access_loggers.file.v3.FileAccessLog",
        "path": str(log),
        "log_format": {"text_format_source": {"inline_string": f"{target} {TCP_LOG}"}},
    }
    relay = {
        "stat_prefix": target,
        "cluster": target,
        "on_demand": {"odcds_config": ADS, "timeout": "0.3s"},
        "access_log": [{"name": "file", "typed_config": access_log}],
    }
    message = listener_pb2.Listener(name=f"to {target}")
    message.address.socket_address.address = "127.0.0.1"
    message.address.socket_address.port_value = port
    made = json_format.ParseDict(relay, tcp_proxy_pb2.TcpProxy())
    message.filter_chains.add().filters.add(name="tcp").typed_config.Pack(made)
    return message


class Judged:
    """One proxy with its control plane. seen: what became of each request, in order."""

    def __init__(self, folder: Path, upstream: int) -> None:
        self.port = free_port()
        self.upstream = upstream
        self.log = folder / "access.log"
        self.log.touch()
        self.plane = FakeDemand()
        self.seen: list[tuple[str, tuple[object, ...]]] = []
        self.asked = 0
        table = {"name": "table", "vhds": {"config_source": ADS}}
        self.plane.put(LDS, "l", "1", listener(self.port, self.log))
        self.plane.put(
            RDS, "table", "1", json_format.ParseDict(table, route_pb2.RouteConfiguration())
        )
        for name in "abc":
            self.put_cluster(name)
        self.tcp_log = folder / "tcp.log"
        self.tcp_log.touch()
        self.tcp_ports = {name: free_port() for name in RELAYED}
        for name, port in self.tcp_ports.items():
            self.plane.put(LDS, f"to {name}", "1", tcp_listener(port, self.tcp_log, name))
        self.put_cluster("there")
        self.plane.mute.add("never")
        self.relayed: list[tuple[str, bytes]] = []
        self.stats: dict[str, int] = {}

    def put_cluster(self, name: str) -> None:
        self.plane.put(CDS, name, "1", cluster(name))
        self.plane.put(EDS, name, "1", endpoints(name, self.upstream))

    def host(
        self, name: str, *domains: str, match: object = ANY, retry: object = None, **route: object
    ) -> None:
        """Under the name of its resource, by which Envoy removes it."""
        routes = [{"match": match, "route": route or {"cluster": "a"}}]
        message: dict[str, object] = {
            "name": f"table/{name}",
            "domains": domains or [name],
            "routes": routes,
        }
        if retry is not None:
            message["retry_policy"] = retry
        self.plane.hosts[f"table/{name}"] = json_format.ParseDict(message, VirtualHost())

    async def ask(
        self, host: str, path: str = "/", body: bytes = b"", headers: Mapping[str, str] = {}
    ) -> int:
        """The status; beside it what was logged is compared."""
        self.asked += 1
        place = f"{path}?{self.asked}"
        self.seen.append(("", ()))
        at = len(self.seen) - 1
        async with Client(self.port) as client:
            method = "POST" if body else "GET"
            sent = [("host", host), *headers.items()]
            message = await client.request(method, place, sent, body)
            assert message is not None, (host, client.received)
        self.seen[at] = (place, (host, path, message.status, message.body))
        return message.status

    def answers(self) -> list[object]:
        """Of each request what the client got, and what was logged when the proxy has ended."""
        lines = dict(line.split(" ", 1) for line in self.log.read_text().splitlines())
        return [(answer, lines[place]) for place, answer in self.seen]

    async def relay(self, name: str) -> None:
        """The first line that comes back of a request over TCP."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.tcp_ports[name])
        writer.write(b"GET /tcp HTTP/1.1\r\nhost: a\r\n\r\n")
        try:
            answer = await asyncio.wait_for(reader.readline(), 30)
        except ConnectionError:
            answer = b""
        writer.close()
        self.relayed.append((name, answer))

    def count(self, proxy: ProxyProcess) -> None:
        found = json.loads(proxy.admin("/stats?format=json&filter=^tcp").body)["stats"]
        wanted = ("on_demand", "no_route", "cx_total")
        self.stats = {
            one["name"]: one["value"]
            for one in found
            if any(word in one["name"] for word in wanted)
        }

    async def until(self, host: str, status: int) -> None:
        """A change has reached it: polls are not compared."""
        seen = list(self.seen)
        async with asyncio.timeout(30):
            while await self.ask(host) != status:
                self.seen = list(seen)
        self.seen = list(seen)


async def converse(judged: Judged) -> None:
    await names_and_domains(judged)
    await clusters(judged)
    await bodies_and_crowds(judged)
    await changes(judged)
    # Whoever comes again for what is not there waits once more in Envoy.
    for name in (*RELAYED, "there", "never"):
        await judged.relay(name)


async def names_and_domains(judged: Judged) -> None:
    judged.host("one", "one", "one:80")
    judged.host("wild", "*.wild.test")
    judged.host("partly", match={"path": "/yes"})
    for host in ("one", "one", "ONE:80", "x.wild.test", "y.wild.test", "unknown", "unknown"):
        await judged.ask(host)
    for path in ("/no", "/no", "/yes"):
        await judged.ask("partly", path)
    # What RFC 3986 section 3.2.2 has in a host, and nothing else makes known.
    judged.host("a+b=c")
    judged.host("loop", "[::1]:81")
    for host in ("a+b=c", "[::1]:81", "A_b!$&'()*+,;=~.wild.test", "%41.wild.test", "~"):
        await judged.ask(host)


async def clusters(judged: Judged) -> None:
    judged.host("lost", cluster="nowhere")
    judged.host("slow", cluster="mute")
    judged.host("shares", weighted_clusters={"clusters": [{"name": "b", "weight": 1}]})
    judged.host("chosen", cluster_header="x-cluster")
    judged.host("status", cluster="nothing", cluster_not_found_response_code="NOT_FOUND")
    judged.plane.mute.add("mute")
    for host in ("lost", "lost", "slow", "shares", "status"):
        await judged.ask(host)
    await judged.ask("chosen")
    for name in ("c", "stranger"):
        await judged.ask("chosen", headers={"x-cluster": name})


async def bodies_and_crowds(judged: Judged) -> None:
    judged.host("posted", cluster="late")
    judged.put_cluster("late")
    await judged.ask("posted", body=b"x" * 1000)
    judged.host("crowd")
    await asyncio.gather(*(judged.ask("crowd") for _ in range(20)))
    assert judged.plane.asked["table/crowd"] == 1
    judged.host("again", retry={"retry_on": "5xx", "num_retries": 1})
    await judged.ask("again", "/fails-once")


async def changes(judged: Judged) -> None:
    del judged.plane.hosts["table/one"]
    await judged.plane.push()
    await judged.until("one", 404)
    await judged.ask("one")
    judged.host("one", cluster="b")
    judged.host("unknown")
    await judged.plane.push()
    await judged.until("unknown", 200)
    await judged.ask("one")
    judged.host("crowd", "crowd", "alias")
    await judged.plane.push()
    await judged.ask("alias")
    del judged.plane.resources[CDS]["c"]
    await judged.plane.push()
    judged.host("chosen", cluster="c")
    await judged.plane.push()
    await judged.until("chosen", 503)
    await judged.ask("chosen")


def answers() -> Callable[[Any], Answer]:
    failed: set[str] = set()

    def answer(request: Any) -> Answer:
        if request.path.startswith("/fails-once") and request.path not in failed:
            failed.add(request.path)
            return Answer(503)
        return Answer(body=b"%d" % len(request.body))

    return answer


async def judge(make: Make, folder: Path) -> Judged:
    async with Upstream(answers()) as upstream:
        judged = Judged(folder, upstream.port)
        await judged.plane.start()
        boot = json.loads(bootstrap_file(folder, judged.plane.port).read_text())
        proxy = make(boot, folder)
        await asyncio.to_thread(proxy.start)
        try:
            await converse(judged)
            await asyncio.to_thread(judged.count, proxy)
        finally:
            await asyncio.to_thread(proxy.stop)
            await judged.plane.stop()
    return judged


def folder(below: Path, name: str) -> Path:
    found = below / name
    found.mkdir()
    return found


async def test_weft_answers_as_envoy_does(tmp_path: Path) -> None:
    require_envoy()
    theirs = await judge(envoy_process, folder(tmp_path, "envoy"))
    ours = await judge(weft_proxy, folder(tmp_path, "weft"))
    assert ours.answers() == theirs.answers()
    assert ours.relayed == theirs.relayed
    assert ours.stats == theirs.stats
    logs = [sorted(one.tcp_log.read_text().splitlines()) for one in (ours, theirs)]
    assert logs[0] == logs[1]
    assert theirs.plane.held[VHDS] <= ours.plane.held[VHDS]
