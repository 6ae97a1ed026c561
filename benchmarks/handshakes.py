"""TLS connections: what one costs Weft and Envoy, in CPU time of a worker on a core of its own.

`python -m benchmarks.handshakes [--rounds N] [--connections N]`. Each connection is made, carries
one request that the proxy answers itself, and is closed:

* `full`: mutual TLS 1.3, P-256, both chains verified, the client's SPIFFE id looked at;
* `resumed`: the same with a session of before, which Weft has kept (proxy/tls/kept.py), and Envoy
  has written into a ticket; `server`, `server resumed`: no client certificate;
* `plain`: without TLS, what the others are above it.

Rounds alternate between the proxies, and the ratio is taken in each. Then the price of TLS on
connections that stand, on one side of the proxy as it answers itself: CPU time of a request over
mutual TLS above one without, 16 at a time and one after the other, and the memory of a connection.
A burst in plaintext and one over TLS follow each other at once, in turns the one and the other
first; told is the median of their differences, and between which values half of them are.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.contenders import ENVOY, HCM, ROUTER
from tests.support import compiled
from tests.support.pki import Authority
from tests.support.ports import free_port

MODES = ("mutual", "server", "plain")
KINDS = {
    "full": ("mutual", False), "resumed": ("mutual", True), "server": ("server", False),
    "server resumed": ("server", True), "plain": ("plain", False),
}  # fmt: skip
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
DOMAIN = "spiffe://cluster.local/"
KEPT_OPEN = 300
STANDING = 16
BURST = 480  # requests
PAIRS = 12  # of bursts, in a round
QUIET = ("--concurrency", "1", "--disable-hot-restart", "-l", "error")
Yaml = dict[str, Any]


class Files:
    """The certificates of everybody, in `folder`."""

    def __init__(self, folder: Path) -> None:
        root = Authority()
        day = timedelta(days=1)
        self.folder = folder
        self.root = folder / "root.pem"
        self.root.write_text(root.pem)
        self.server = root.issue(uris=(DOMAIN + "server",), lifetime=day).write(folder, "server")
        self.client = root.issue(uris=(DOMAIN + "client",), lifetime=day).write(folder, "client")

    def context(self, mode: str) -> ssl.SSLContext | None:
        """Of a client of a listener of that mode; it trusts everybody, to be quick."""
        if mode == "plain":
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if mode != "server":
            context.load_cert_chain(*self.client)
        return context


def listener(files: Files, mode: str, port: int) -> Yaml:
    answer = {"status": 200, "body": {"inline_string": "ok"}}
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": answer}],
    }
    router = {"name": "router", "typed_config": {"@type": f"type.googleapis.com/{ROUTER}"}}
    manager = {
        "@type": f"type.googleapis.com/{HCM}",
        "stat_prefix": mode,
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [router],
    }
    name = "envoy.filters.network.http_connection_manager"
    filters: Yaml = {"filters": [{"name": name, "typed_config": manager}]}
    if mode != "plain":
        filters["transport_socket"] = transport_socket(files, mode)
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"name": mode, "address": address, "filter_chains": [filters]}


def transport_socket(files: Files, mode: str) -> Yaml:
    chain, key = ({"filename": str(path)} for path in files.server)
    common: Yaml = {
        "tls_certificates": [{"certificate_chain": chain, "private_key": key}],
        "alpn_protocols": ["h2", "http/1.1"],
    }
    typed: Yaml = {"@type": TLS + "DownstreamTlsContext", "common_tls_context": common}
    if mode != "server":
        typed["require_client_certificate"] = True
        common["validation_context"] = {
            "trusted_ca": {"filename": str(files.root)},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": DOMAIN}}],
        }
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed}


class Server:
    """A proxy on core 0 with a listener of each mode."""

    def __init__(self, name: str, files: Files) -> None:
        self.name = name
        self.files = files
        self.ports = {mode: free_port() for mode in MODES}
        bootstrap = files.folder / f"{name}.json"
        listeners = [listener(files, mode, port) for mode, port in self.ports.items()]
        bootstrap.write_text(json.dumps({"static_resources": {"listeners": listeners}}))
        door = "from weft.cli import main; main()"
        state = str(files.folder / "state")
        path = str(bootstrap)
        command = {
            "weft": [sys.executable, "-c", door, "proxy", "-c", path, "--state-dir", state],
            "envoy": [str(ENVOY), "-c", path, *QUIET],
        }[name]
        with (files.folder / f"{name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, preexec_fn=lambda: os.sched_setaffinity(0, {0})
            )
        self._wait()

    def _wait(self) -> None:
        for port in self.ports.values():
            for _ in range(200):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.05)
        time.sleep(2.5)  # Weft settles its collector then

    def cpu_us(self) -> float:
        """Of all threads; the kernel's scheduler counts in nanoseconds."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return (
            sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e3
        )

    def rss_kb(self) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def connect(self, mode: str, context: ssl.SSLContext | None, session: Any = None) -> Any:
        """One connection with a request answered."""
        sock = socket.create_connection(("127.0.0.1", self.ports[mode]))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname="a", session=session)
        sock.sendall(REQUEST)
        answer = sock.recv(4096)
        while not answer.endswith(b"ok"):
            answer += sock.recv(4096)
        return sock

    def per_connection_us(self, kind: str, count: int) -> float:
        mode, resumes = KINDS[kind]
        context = self.files.context(mode)
        session: Any = None
        if resumes:
            session = self._one(mode, context, None)

        def act() -> None:
            nonlocal session
            kept = self._one(mode, context, session)
            if resumes:  # each ticket is good for once
                session = kept

        return self._measure(act, count)

    def _one(self, mode: str, context: ssl.SSLContext | None, session: Any) -> Any:
        """The session, if there was one."""
        sock = self.connect(mode, context, session)
        assert session is None or sock.session_reused
        kept = sock.session if context is not None else None
        sock.close()
        return kept

    def _measure(self, act: Callable[[], None], count: int) -> float:
        before = self.cpu_us()
        for _ in range(count):
            act()
        time.sleep(0.03)
        return (self.cpu_us() - before) / count

    def standing(self, mode: str) -> list[Any]:
        context = self.files.context(mode)
        return [self.connect(mode, context) for _ in range(STANDING)]

    def per_request_us(self, standing: list[Any]) -> float:
        """All of them at a time."""
        count = BURST // len(standing)
        before = self.cpu_us()
        for _ in range(count):
            for sock in standing:
                sock.sendall(REQUEST)
            for sock in standing:
                answer = sock.recv(4096)
                while not answer.endswith(b"ok"):
                    answer += sock.recv(4096)
        return (self.cpu_us() - before) / (count * len(standing))

    def kb_per_connection(self, mode: str) -> float:
        context = self.files.context(mode)
        before = self.rss_kb()
        held = [self.connect(mode, context) for _ in range(KEPT_OPEN)]
        found = (self.rss_kb() - before) / KEPT_OPEN
        for sock in held:
            sock.close()
        return found


def main() -> None:
    parser = ArgumentParser(prog="benchmarks.handshakes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--connections", type=int, default=100)
    options = parser.parse_args()
    os.sched_setaffinity(0, {1})
    print(f"weft: {compiled.use_if_ready()}")
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder))
        servers = [Server(name, files) for name in ("envoy", "weft")]
        try:
            # Memory first: later, what was given back would be taken again and not be seen.
            memory = {each.name: each.kb_per_connection("mutual") for each in servers}
            _handshakes(servers, options.rounds, options.connections)
            _requests(servers, options.rounds)
            for name, size in memory.items():
                print(f"{name:6} {size:6.1f} kB a connection of mutual TLS")
        finally:
            for each in servers:
                each.process.terminate()
                each.process.wait()


def _handshakes(servers: list[Server], rounds: int, count: int) -> None:
    print("CPU us a connection     envoy    weft  rate of Envoy's")
    for kind in KINDS:
        found: dict[str, list[float]] = {each.name: [] for each in servers}
        for each in servers:
            each.per_connection_us(kind, count)
        for _ in range(rounds):
            for each in servers:
                found[each.name].append(each.per_connection_us(kind, count))
        ratio = statistics.median(
            judge / ours for judge, ours in zip(found["envoy"], found["weft"], strict=True)
        )
        judge, ours = (statistics.median(found[name]) for name in ("envoy", "weft"))
        print(f"{kind:20} {judge:8.0f} {ours:7.0f}  {ratio:.2f}")


def _requests(servers: list[Server], rounds: int) -> None:
    standing = {each.name: (each.standing("plain"), each.standing("mutual")) for each in servers}
    for at_once, words in ((STANDING, f"{STANDING} at a time"), (1, "one after the other")):
        found: dict[str, list[tuple[float, float]]] = {each.name: [] for each in servers}
        for at in range(rounds + 1):
            for each in servers:
                plain, secure = (some[:at_once] for some in standing[each.name])
                pairs = [_pair(each, plain, secure, bool(n % 2)) for n in range(PAIRS)]
                if at:  # the first round warms up
                    found[each.name] += pairs
        for name, some in found.items():
            plain_us = statistics.median(plain for plain, _ in some)
            low, above, high = statistics.quantiles(secure - plain for plain, secure in some)
            print(
                f"{name:6} {plain_us:6.1f} us a request in plaintext, TLS {above:5.1f} more"
                f" (half of them {low:.1f} to {high:.1f}): {words}"
            )
    for sock in chain.from_iterable(chain.from_iterable(standing.values())):
        sock.close()


def _pair(each: Server, plain: list[Any], secure: list[Any], turned: bool) -> tuple[float, float]:
    """CPU us of a request in plaintext, and over TLS."""
    if turned:
        after = each.per_request_us(secure)
        return each.per_request_us(plain), after
    return each.per_request_us(plain), each.per_request_us(secure)


if __name__ == "__main__":
    main()
