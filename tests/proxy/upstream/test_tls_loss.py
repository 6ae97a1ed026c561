"""An upstream that refuses our certificate: what the log and the statistics say of it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.pki import Authority, KeyPair, server_context
from tests.support.ports import free_port
from tests.support.raw_tcp import TYPES, TcpServer, address, dial, file_log, static, tcp_cluster
from tests.support.wait import eventually
from tests.support.weft_proxy import weft_proxy

ROOT = Authority()
OURS = "spiffe://td/ns/default/sa/us"
EXPIRED = ROOT.issue(uris=(OURS,), lifetime=timedelta(minutes=-1))
LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\n"


def serve(context: ssl.SSLContext) -> Callable[[Any], None]:
    """Shakes hands and tells the client what is wrong with its certificate."""

    def one(sock: Any) -> None:
        with context.wrap_socket(sock, server_side=True) as tls:
            tls.recv(100)

    return one


def cluster(files: Path, port: int, shown: KeyPair) -> dict[str, Any]:
    chain, key = shown.write(files, "us")
    pair = {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
    validation = {"trusted_ca": {"inline_string": ROOT.pem}}
    common = {"tls_certificates": [pair], "validation_context": validation}
    return tcp_cluster("up", [port], {"common_tls_context": common})


def http_listener(port: int, log: Path) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "up"}}
    manager = {
        "@type": TYPES + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "access_log": [file_log(log, LOG)],
        "route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "r", "typed_config": {"@type": TYPES + "filters.http.router.v3.Router"}}
        ],
    }
    chain = {"filters": [{"name": "hcm", "typed_config": manager}]}
    return {"name": "x", "address": address(port), "filter_chains": [chain]}


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def upstream(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TcpServer]:
    context = server_context(ROOT, ROOT.issue(dns=("up.test",)).write(tmp_path, "server"))
    context.maximum_version = request.param
    with TcpServer(serve(context)) as server:
        yield server


def test_the_log_names_our_certificate(upstream: TcpServer, tmp_path: Path) -> None:
    """In TLS 1.2 within the handshake, in TLS 1.3 when a request is on its way already: one that
    is written into a reset is answered by it, and OpenSSL reads no reason then."""
    log, port = tmp_path / "access", free_port()
    bootstrap = static([http_listener(port, log)], [cluster(tmp_path, upstream.port, EXPIRED)])
    with weft_proxy(bootstrap, tmp_path) as proxy:
        line = ""
        for tries in range(1, 6):
            with dial(port) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                assert sock.recv(4096).startswith(b"HTTP/1.1 503")
            line = eventually(partial(line_of, log, tries), what="a line")
            assert line.startswith(("503 UF TLS_error:", "503 UC TLS_error:")), line
            if "certificate_expired" in line:
                break
        assert "certificate_expired" in line
        assert f"our_certificate_is_{OURS},_serial_" in line
        assert proxy.stats()["cluster.up.ssl.connection_error"] >= 1


def line_of(log: Path, number: int) -> str:
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return lines[number - 1] if len(lines) >= number and lines[-1].endswith("\n") else ""
