"""A network namespace of its own, in which the kernel redirects connections into a proxy as Istio's
rules do, with the application of one workload in it. Run as a program inside of the namespace:

    unshare -n python -m tests.support.redirected envoy|weft|whole REDIRECT|TPROXY DIRECTORY

One proxy is the sidecar of the client and of the server, told apart by the group that it runs as.
`whole` is Weft without on demand. What each call met is written to stdout as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from controlplane.mesh.model import Mesh
from tests.support import grpc_echo
from tests.support.envoy import ROOT, envoy
from tests.support.intercepting import meshed
from tests.support.judge import Judge
from tests.support.process import ProxyProcess
from tests.support.wait import eventually_async
from tests.support.weft_proxy import weft_proxy

NFT = ROOT / ".peers" / "nft" / "nft"
SIDECAR_GROUP = 1337
"""Whose connections are not redirected again (Istio's)."""

POD, SECOND_POD, VIP, ELSEWHERE = "10.1.0.9", "10.1.0.8", "10.96.0.3", "192.0.2.7"
POD_6, VIP_6, ELSEWHERE_6 = "fd00:1::9", "fd00:96::3", "2001:db8::7"
_FAMILIES = (("ip", "127.0.0.0/8", "127.0.0.6", POD), ("ip6", "::1", "::6", POD_6))
"""Table, the loopback, from where a sidecar asks its application, and where that is."""


def _redirect(table: str, loopback: str, own: str, pod: str) -> str:
    return f"""
table {table} weft {{
  chain output {{
    type nat hook output priority -100;
    {table} daddr {loopback} return
    {table} saddr {own} return
    meta skgid {SIDECAR_GROUP} {table} daddr {pod} tcp dport 1-65535 redirect to :15006
    meta skgid {SIDECAR_GROUP} return
    tcp dport 1-65535 redirect to :15001
  }}
}}
"""


def _tproxy(table: str, loopback: str, _: str, pod: str) -> str:
    mine = f"meta skgid {SIDECAR_GROUP} {table} daddr {pod}"
    return f"""
table {table} weft {{
  chain output {{
    type route hook output priority mangle;
    {table} daddr {loopback} return
    meta mark 1337 return
    ct mark 1337 return
    {mine} tcp dport 1-65535 meta mark set 2 accept
    meta skgid {SIDECAR_GROUP} return
    tcp dport 1-65535 meta mark set 1
  }}
  chain prerouting {{
    type filter hook prerouting priority mangle;
    meta mark 1337 ct mark set 1337 return
    meta mark 1 meta l4proto tcp tproxy to :15001 accept
    meta mark 2 meta l4proto tcp tproxy to :15006 accept
  }}
}}
"""


RULES = "".join(_redirect(*one) for one in _FAMILIES)
TPROXY_RULES = "".join(_tproxy(*one) for one in _FAMILIES)
WAIT_S = 60.0
MESH = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: messenger-1, namespace: default}
spec:
  address: 10.1.0.9
  serviceAccount: messenger
  labels: {app: messenger, security.istio.io/tlsMode: istio}
---
apiVersion: v1
kind: Service
metadata: {name: messenger, namespace: default}
spec:
  clusterIP: 10.96.0.3
  clusterIPs: [10.96.0.3, "fd00:96::3"]
  selector: {app: messenger}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: tcp, port: 82, targetPort: 8082}
  - {name: some, port: 83, targetPort: 8083}
  - {name: http-strict, port: 84, targetPort: 8084}
  - {name: tcp-plain, port: 85, targetPort: 8085}
  - {name: grpc, port: 86, targetPort: 8086}
---
apiVersion: v1
kind: Service
metadata: {name: uncalled, namespace: default}
spec:
  clusterIP: 10.96.0.4
  selector: {app: messenger}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: tcp, port: 82, targetPort: 8082}
  - {name: some, port: 83, targetPort: 8083}
  - {name: tcp-else, port: 88, targetPort: 8082}
  - {name: tcp-mixed, port: 84, targetPort: 8082}
---
apiVersion: v1
kind: Service
metadata: {name: store, namespace: default}
spec:
  clusterIP: None
  ports: [{name: tcp-db, port: 6000}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: store, namespace: default}
subsets:
- addresses: [{ip: 10.1.0.8}, {ip: 192.0.2.7}]
  ports: [{name: tcp-db, port: 6000}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ports, namespace: default}
spec:
  selector: {matchLabels: {app: messenger}}
  portLevelMtls:
    8084: {mode: STRICT}
    8085: {mode: DISABLE}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: one, namespace: default}
spec:
  hosts: [one.example.com]
  resolution: STATIC
  endpoints: [{address: 10.1.0.8, ports: {tls: 6000}}]
  ports: [{name: tls, number: 443, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: two, namespace: default}
spec:
  hosts: [two.example.com]
  resolution: STATIC
  endpoints: [{address: 192.0.2.7, ports: {tls: 6000, tcp: 9000}}]
  ports:
  - {name: tls, number: 443, protocol: TLS}
  - {name: tcp, number: 7000, protocol: TCP}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: two, namespace: default}
spec:
  hosts: [two.example.com]
  tcp:
  - match: [{destinationSubnets: [10.96.0.0/16]}]
    route: [{destination: {host: one.example.com, port: {number: 443}}}]
"""
LATER = """
---
apiVersion: v1
kind: Service
metadata: {name: later, namespace: default}
spec:
  clusterIP: 10.96.0.3
  selector: {app: messenger}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: tcp, port: 87, targetPort: 8082}
"""
NOTHING_ELSE = """
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: istio-system}
spec:
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
"""

# --------------------------------------------------------------------------- the application


async def _application(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP is answered with where it came in and who sent it; other bytes come back."""
    place = "{}:{}".format(*writer.get_extra_info("sockname"))
    source = writer.get_extra_info("peername")[0]
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        first = await reader.read(65536)
        while first.startswith(b"GET ") and b"\r\n\r\n" not in first:
            first += await reader.read(65536)
        if first.startswith(b"GET "):
            writer.write(_answer(place, source, first))
        else:
            writer.write(place.encode() + b" " + first)
        await writer.drain()
        writer.close()


async def _greeter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks first, and hears nothing."""
    with contextlib.suppress(OSError):
        writer.write(b"hello")
        await writer.drain()
        writer.close()


def _answer(place: str, source: str, request: bytes) -> bytes:
    lines = request.decode("latin-1").split("\r\n")
    peer = next((one for one in lines if one.lower().startswith("x-forwarded-client-cert")), "")
    body = json.dumps({"at": place, "from": source, "peer": "sa/messenger" in peer}).encode()
    return b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )


async def _applications() -> list[asyncio.Server]:
    places = [(POD, port) for port in (8080, 8082, 8083, 8084, 9000)]
    places += [
        (POD_6, 8080),
        (POD_6, 9000),
        (ELSEWHERE_6, 9000),
        (SECOND_POD, 6000),
        (ELSEWHERE, 6000),
        (ELSEWHERE, 80),
        (ELSEWHERE, 9000),
    ]
    servers = [await asyncio.start_server(_application, *place) for place in places]
    return [*servers, await asyncio.start_server(_greeter, POD, 8085)]


# --------------------------------------------------------------------------- calls


async def _source_seen(source: str, address: str, port: int) -> str:
    """From where the application sees a connection come that another pod makes from there: one that
    does not pass an outbound side here."""
    os.setegid(SIDECAR_GROUP)
    sock = socket.socket()
    os.setegid(os.getgid())
    sock.setblocking(False)
    sock.bind((source, 0))
    try:
        await asyncio.wait_for(
            asyncio.get_running_loop().sock_connect(sock, (address, port)), WAIT_S
        )
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(b"GET /x HTTP/1.1\r\nhost: messenger\r\nconnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(-1), WAIT_S)
        writer.close()
    except OSError as error:
        return str(error)
    return str(json.loads(answer.partition(b"\r\n\r\n")[2] or b"{}").get("from", answer))


async def _bytes(address: str, port: int) -> str:
    return await _exchange(address, port, b"\x00bytes")


async def _get(address: str, port: int, host: str) -> str:
    head = f"GET /x HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    answer = await _exchange(address, port, head.encode())
    begin, _, body = answer.partition("\r\n\r\n")
    status = begin.split(" ")[1] if " " in begin else "no answer"
    return f"{status} {body}" if status == "200" else status


async def _hello(address: str, port: int, name: str) -> str:
    """To where the first words of TLS for `name` come."""
    said = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), said, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return (await _exchange(address, port, said.read())).partition(" ")[0]


async def _exchange(address: str, port: int, sent: bytes) -> str:
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), WAIT_S)
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(-1), WAIT_S)
        writer.close()
    except OSError:
        return ""
    return answer.decode("latin-1")


async def _calls() -> dict[str, str]:
    wanted: dict[str, Awaitable[str]] = {
        "http to a service": _get(VIP, 80, "messenger"),
        "tcp to a service": _bytes(VIP, 82),
        "http to a port of no protocol": _get(VIP, 83, "messenger:83"),
        "bytes to a port of no protocol": _bytes(VIP, 83),
        "a server that speaks first": _exchange(VIP, 85, b""),
        "http to a strict port": _get(VIP, 84, "messenger:84"),
        "gRPC to a service": grpc_echo.say(VIP, 86, WAIT_S),
        "http to a service that comes later": _get(VIP, 80, "later"),
        "tcp to a service that comes later": _bytes(VIP, 87),
        "http without TLS": _get(POD, 8080, "messenger"),
        "http without TLS to a strict port": _get(POD, 8084, "messenger"),
        "bytes to a port that no service has": _bytes(POD, 9000),
        "one endpoint of a headless service": _bytes(SECOND_POD, 6000),
        "the other endpoint": _bytes(ELSEWHERE, 6000),
        "TLS by its server name": _hello(ELSEWHERE, 443, "one.example.com"),
        "TLS by another server name": _hello(ELSEWHERE, 443, "two.example.com"),
        "tcp to an address": _bytes(ELSEWHERE, 7000),
        "tcp to an address of a subnet": _bytes(VIP, 7000),
        "http to an unknown place": _get(ELSEWHERE, 80, "unknown.example.com"),
        "bytes to an unknown place": _bytes(ELSEWHERE, 9000),
        "the port of the sidecar itself": _bytes(ELSEWHERE, 15001),
        "http to a service over IPv6": _get(VIP_6, 80, "messenger"),
        "tcp to a service over IPv6": _bytes(VIP_6, 82),
        "http without TLS over IPv6": _get(POD_6, 8080, "messenger"),
        "bytes to a port that no service has over IPv6": _bytes(POD_6, 9000),
        "bytes to an unknown place over IPv6": _bytes(ELSEWHERE_6, 9000),
        "the port of the sidecar itself over IPv6": _bytes(ELSEWHERE_6, 15001),
        "where http from another pod comes from": _source_seen(SECOND_POD, POD, 8080),
    }
    return {name: await call for name, call in wanted.items()}


# --------------------------------------------------------------------------- the scene


def _prepare(mode: str) -> None:
    marked: list[tuple[str, ...]] = [
        ("ip", "rule", "add", "fwmark", str(mark), "lookup", "100") for mark in (1, 2)
    ]
    marked += [("ip", "-6", *one[1:]) for one in marked]
    marked.append(("ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", "100"))
    marked.append(("ip", "-6", "route", "add", "local", "::/0", "dev", "lo", "table", "100"))
    mine = ("::6", POD_6, VIP_6, ELSEWHERE_6)
    for words in (
        ("ip", "link", "set", "lo", "up"),
        *(("ip", "address", "add", f"{one}/32", "dev", "lo") for one in (POD, SECOND_POD)),
        *(("ip", "address", "add", f"{one}/32", "dev", "lo") for one in (VIP, ELSEWHERE)),
        *(("ip", "-6", "address", "add", f"{one}/128", "dev", "lo", "nodad") for one in mine),
        *(marked if mode == "TPROXY" else ()),
    ):
        subprocess.run(words, check=True)
    rules = TPROXY_RULES if mode == "TPROXY" else RULES
    subprocess.run((str(NFT), "-f", "-"), input=rules.encode(), check=True)


def _in_group(proxy: ProxyProcess) -> ProxyProcess:
    group = ("setpriv", "--regid", str(SIDECAR_GROUP), "--clear-groups", "--")
    proxy.command = [*group, *proxy.command]
    return proxy


_PROXIES: dict[str, Callable[[dict[str, Any], Path], ProxyProcess]] = {
    "envoy": envoy,
    "weft": weft_proxy,
    "whole": weft_proxy,
}


@asynccontextmanager
async def _sidecar(
    judge: Judge, kind: str, mode: str, directory: Path
) -> AsyncIterator[ProxyProcess]:
    await judge.server.start()
    made = judge.bootstrap(True, mode)
    made["node"]["metadata"]["WEFT_ON_DEMAND"] = str(kind != "whole").lower()
    made["node"]["metadata"]["INSTANCE_IPS"] = f"{POD},{POD_6}"
    del made["node"]["metadata"]["WEFT_GATEWAY"]
    proxy = _in_group(_PROXIES[kind](made, directory))
    await asyncio.to_thread(proxy.start)
    try:
        yield proxy
    finally:
        await asyncio.to_thread(proxy.stop)
        await judge.server.stop(0)


async def _served(judge: Judge, mesh: Mesh) -> dict[str, str]:
    objections = await judge.judge(mesh, WAIT_S)
    assert objections == {}, objections
    return await _calls()


async def scene(kind: str, mode: str, directory: Path) -> dict[str, dict[str, str]]:
    _prepare(mode)
    servers, grpc = await _applications(), await grpc_echo.serve(POD, 8086)
    judge = Judge()
    judge.cache.set_mesh(meshed(MESH))
    async with _sidecar(judge, kind, mode, directory):
        await eventually_async(lambda: bool(judge.ads.connections), WAIT_S, "the proxy is here")
        found = {
            "ALLOW_ANY": await _served(judge, meshed(MESH)),
            "REGISTRY_ONLY": await _served(judge, meshed(MESH + NOTHING_ELSE)),
            "later": await _later(judge),
            "again": await _again(judge),
        }
        held = {"of a service that is not called": _held_of(judge, "uncalled", "10.96.0.4")}
    for server in servers:
        server.close()
    await grpc.stop(0)
    return {**found, "held": held}


async def _later(judge: Judge) -> dict[str, str]:
    """When a service has come, and a port of another has gone."""
    less = MESH.replace("  - {name: tcp, port: 82, targetPort: 8082}\n", "", 1)
    return await _settled(judge, meshed(less + LATER), there=87, gone=82)


async def _again(judge: Judge) -> dict[str, str]:
    """When it has gone while it is held, and the port is back."""
    return await _settled(judge, meshed(MESH), there=82, gone=87)


async def _settled(judge: Judge, mesh: Mesh, there: int, gone: int) -> dict[str, str]:
    """Envoy's workers hear of listeners after the control plane does. there, gone: TCP ports."""
    objections = await judge.judge(mesh, WAIT_S)
    assert objections == {}, objections
    for _ in range(600):
        if await _bytes(VIP, there) and not await _bytes(VIP, gone):
            break
        await asyncio.sleep(0.05)
    return await _calls()


def _held_of(judge: Judge, *words: str) -> str:
    """Of what the proxy has been told, whether anything is named so."""
    (connection,) = judge.ads.connections
    machine = connection.machine
    sent = {name for one in machine.subscriptions.values() for name in one.sent}
    return "something" if any(word in name for name in sent for word in words) else "nothing"


if __name__ == "__main__":
    os.chdir(ROOT)
    print(json.dumps(asyncio.run(scene(sys.argv[1], sys.argv[2], Path(sys.argv[3])))))
