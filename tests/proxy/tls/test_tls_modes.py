"""Who gets in by which mode of mutual TLS, through Weft and a real Envoy, with the reason.

Every kind of client meets a port of every mode, for HTTP, TCP and gRPC: 72 listeners each, of
Istio's shape, so that each conversation has its own statistics and its own line in the log.
"""

from __future__ import annotations

import itertools
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from tests.support.envoy import envoy, require_envoy
from tests.support.pki import Authority, KeyPair
from tests.support.process import ProxyProcess
from tests.support.raw_tcp import TcpServer, file_log, static, tcp_cluster
from tests.support.tls import python_client
from tests.support.wait import eventually
from tests.support.weft_proxy import weft_proxy

DOMAIN = "spiffe://cluster.local/ns/default/sa/"
GOOD = DOMAIN + "good"
ROOT = Authority("mesh root")
SERVER = ROOT.issue(uris=(DOMAIN + "server",), dns=("server.test",))
HOURS = timedelta(hours=1)
REVOKED = ROOT.issue(uris=(GOOD,))
CERTIFICATES: Mapping[str, KeyPair | None] = {
    "plaintext": None,
    "none": None,
    "other_domain": ROOT.issue(uris=("spiffe://other.domain/ns/default/sa/good",)),
    "other_id": ROOT.issue(uris=(DOMAIN + "bad",)),
    "expired": ROOT.issue(uris=(GOOD,), lifetime=-HOURS),
    "revoked": REVOKED,
    "early": ROOT.issue(uris=(GOOD,), lifetime=3 * HOURS, begins_in=HOURS),
    "right": ROOT.issue(uris=(GOOD,)),
}
MODES = ("STRICT", "PERMISSIVE", "DISABLE")
PROTOCOLS = ("http", "tcp", "grpc")
CASES = tuple(itertools.product(CERTIFICATES, MODES, PROTOCOLS))
# What is counted, and what the log says, of who is refused by TLS.
REASONS = {
    "none": ("fail_verify_no_cert", "the peer has shown no certificate"),
    "other_domain": ("fail_verify_san", "names do not match: spiffe://other.domain/"),
    "other_id": ("fail_verify_san", f"names do not match: {DOMAIN}bad; wanted exact {DOMAIN}good"),
    "expired": ("fail_verify_error", f"the certificate expired on 20.*Z: {DOMAIN}good, serial "),
    "revoked": ("fail_verify_error", f"the certificate is revoked: {DOMAIN}good, serial "),
    "early": ("fail_verify_error", f"is not valid before 20.*Z: {DOMAIN}good, serial "),
}
COUNTED = (
    "handshake", "connection_error", "session_reused", "no_certificate", "fail_verify_no_cert",
    "fail_verify_error", "fail_verify_san", "fail_verify_cert_hash", "versions.TLSv1.3",
    "curves.X25519",
)  # fmt: skip


def served(client: str, mode: str) -> bool:
    """As Istio's documentation says of PeerAuthentication."""
    if client == "plaintext":
        return mode != "STRICT"
    return client == "right" and mode != "DISABLE"


# --------------------------------------------------------------------------- the proxies


def transport_socket(files: Path) -> dict[str, Any]:
    validation = {
        "trusted_ca": {"filename": str(files / "root.pem")},
        "crl": {"filename": str(files / "crl.pem")},
        "only_verify_leaf_cert_crl": True,
        "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": GOOD}}],
    }
    chain, key = (str(files / f"server.{kind}") for kind in ("pem", "key"))
    pair = {"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}
    kind = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"type.googleapis.com/{kind}",
            "require_client_certificate": True,
            "common_tls_context": {
                "tls_certificates": [pair],
                "validation_context": validation,
                "alpn_protocols": ["h2", "http/1.1"],
            },
        },
    }


def filters(name: str, protocol: str) -> list[dict[str, Any]]:
    base = "type.googleapis.com/envoy.extensions.filters."
    if protocol == "tcp":
        kind = base + "network.tcp_proxy.v3.TcpProxy"
        typed = {"@type": kind, "stat_prefix": name, "cluster": "echo"}
        return [{"name": "envoy.filters.network.tcp_proxy", "typed_config": typed}]
    router = {"@type": base + "http.router.v3.Router"}
    answer = {"status": 200, "body": {"inline_string": "served"}}
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": answer}],
    }
    manager: dict[str, Any] = {
        "@type": base + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    return [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]


def listener(files: Path, log: Path, case: tuple[str, str, str]) -> dict[str, Any]:
    name = "_".join(case)
    _, mode, protocol = case
    plain = {
        "filter_chain_match": {"transport_protocol": "raw_buffer"},
        "filters": filters(name, protocol),
    }
    mutual: dict[str, Any] = {
        "filter_chain_match": {"transport_protocol": "tls"},
        "transport_socket": transport_socket(files),
        "filters": filters(name, protocol),
    }
    open_chain = {"filters": filters(name, protocol)}
    chains = {"STRICT": [mutual], "PERMISSIVE": [mutual, plain], "DISABLE": [open_chain]}[mode]
    inspector = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
    typed = {"@type": f"type.googleapis.com/{inspector}"}
    found: dict[str, Any] = {
        "name": name,
        "stat_prefix": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": chains,
        "access_log": [file_log(log, f"{name} %DOWNSTREAM_TRANSPORT_FAILURE_REASON%\n")],
    }
    if mode != "DISABLE":
        found["listener_filters"] = [
            {"name": "envoy.filters.listener.tls_inspector", "typed_config": typed}
        ]
    return found


class Contender:
    def __init__(self, proxy: ProxyProcess, log: Path) -> None:
        self.proxy, self.log = proxy, log
        lines = proxy.admin("/listeners").body.splitlines()
        addresses = dict(line.split("::", 1) for line in lines)
        self.ports = {case: int(addresses["_".join(case)].rpartition(":")[2]) for case in CASES}

    def talk(self, case: tuple[str, str, str]) -> bool:
        client, _, protocol = case
        try:
            with connected(self.ports[case], client, protocol) as sock:
                return CONVERSATIONS[protocol](sock)
        except (ssl.SSLError, ConnectionError):
            return False

    def counted(self, case: tuple[str, str, str]) -> dict[str, int]:
        prefix = f"listener.{'_'.join(case)}.ssl."
        stats = self.stats
        return {name: stats[prefix + name] for name in COUNTED if stats.get(prefix + name)}

    def closed(self) -> bool:
        """Every connection has ended, so everything is counted."""
        self.stats = self.proxy.stats()
        ended = [f"listener.{'_'.join(case)}.downstream_cx_" for case in CASES]
        refused = [f"listener.{'_'.join(case)}.no_filter_chain_match" for case in CASES]
        return all(
            self.stats.get(name + "destroy", 0) + self.stats.get(chain, 0) == 1
            for name, chain in zip(ended, refused, strict=True)
        )

    def told(self, names: set[str]) -> bool:
        return names <= self.reasons().keys()

    def reasons(self) -> dict[str, str]:
        """By listener; logs are written now and then."""
        text = self.log.read_text() if self.log.exists() else ""
        return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


def connected(port: int, client: str, protocol: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    if client == "plaintext":
        return sock
    offers = {"grpc": ("h2",), "http": ("http/1.1",), "tcp": ()}[protocol]
    context = python_client(ROOT, CERTIFICATES[client], offers)
    try:
        return context.wrap_socket(sock, server_hostname="server.test")
    except BaseException:
        sock.close()
        raise


def by_http(sock: socket.socket) -> bool:
    sock.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    return sock.recv(4096).startswith(b"HTTP/1.1 200")


def by_tcp(sock: socket.socket) -> bool:
    sock.sendall(b"served?")
    return sock.recv(100) == b"served?"


def by_grpc(sock: socket.socket) -> bool:
    codec = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    codec.initiate_connection()
    head = [(":method", "POST"), (":path", "/a.B/C"), (":scheme", "http"), (":authority", "a")]
    codec.send_headers(1, [*head, ("content-type", "application/grpc"), ("te", "trailers")])
    codec.send_data(1, b"\0\0\0\0\0", end_stream=True)
    sock.sendall(codec.data_to_send())
    while data := sock.recv(65536):
        for event in codec.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                answer: dict[Any, Any] = dict(event.headers)
                return bool(answer[":status"] == "200")
    return False


CONVERSATIONS = {"http": by_http, "tcp": by_tcp, "grpc": by_grpc}


def echo(sock: socket.socket) -> None:
    while data := sock.recv(4096):
        sock.sendall(data)


@pytest.fixture(scope="module")
def contenders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Contender]]:
    """Both have talked with everybody."""
    require_envoy()
    files = tmp_path_factory.mktemp("tls")
    (files / "root.pem").write_text(ROOT.pem)
    (files / "crl.pem").write_text(ROOT.crl(REVOKED))
    SERVER.write(files, "server")
    with ExitStack() as stack:
        server = stack.enter_context(TcpServer(echo))
        found = {}
        for name, start in (("envoy", envoy), ("weft", weft_proxy)):
            log = files / f"{name}.access"
            listeners = [listener(files, log, case) for case in CASES]
            proxy = start(static(listeners, [tcp_cluster("echo", [server.port])]), files)
            found[name] = Contender(stack.enter_context(proxy), log)
        yield found


def test_everybody_by_every_mode(contenders: dict[str, Contender]) -> None:
    expected = {case: served(case[0], case[1]) for case in CASES}
    for name, contender in contenders.items():
        assert {case: contender.talk(case) for case in CASES} == expected, name
    for name, contender in contenders.items():
        eventually(contender.closed, what=f"{name} has counted all")
    judge, ours = contenders["envoy"], contenders["weft"]
    assert {case: ours.counted(case) for case in CASES} == {
        case: judge.counted(case) for case in CASES
    }


@pytest.mark.parametrize("client", REASONS)
def test_the_reason_is_counted_and_told(contenders: dict[str, Contender], client: str) -> None:
    statistic, why = REASONS[client]
    refused = {"_".join((client, mode, each)) for mode in MODES[:2] for each in PROTOCOLS}
    for name, contender in contenders.items():
        eventually(partial(contender.told, refused), what=f"the log of {name}")
    ours, judges = contenders["weft"].reasons(), contenders["envoy"].reasons()
    for mode, protocol in itertools.product(("STRICT", "PERMISSIVE"), PROTOCOLS):
        case = (client, mode, protocol)
        assert contenders["weft"].counted(case) == {statistic: 1}
        name = "_".join(case)
        assert re.search(why, ours[name]), ours[name]
        assert judges[name].startswith("TLS_error:") and ours[name].startswith("TLS_error:")
