"""A list that the proxy has counts in each handshake, also where the configuration had none yet."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

from tests.support.pki import Authority, KeyPair
from tests.support.ports import free_port
from tests.support.tls import python_client
from tests.support.weft_proxy import weft_proxy

ROOT = Authority()
SERVER = ROOT.issue(dns=("server.test",))
CART, SHOP = (ROOT.issue(uris=(f"spiffe://td/{name}",)) for name in ("cart", "shop"))
FILTERS = "type.googleapis.com/envoy.extensions.filters"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def listener(name: str, port: int, **validation: Any) -> dict[str, Any]:
    """Answers by itself whoever its root has signed."""
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
    manager = {
        "@type": f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": hosts},
        "http_filters": [
            {"name": "r", "typed_config": {"@type": f"{FILTERS}.http.router.v3.Router"}}
        ],
    }
    shown = {
        "certificate_chain": {"inline_string": SERVER.certificate},
        "private_key": {"inline_string": SERVER.key},
    }
    trust = {"trusted_ca": {"inline_string": ROOT.pem}, **validation}
    common = {"tls_certificates": [shown], "validation_context": trust}
    tls = {"@type": TLS, "common_tls_context": common, "require_client_certificate": True}
    chain = {
        "filters": [{"name": "hcm", "typed_config": manager}],
        "transport_socket": {"name": "tls", "typed_config": tls},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"name": name, "address": address, "filter_chains": [chain]}


async def answered(port: int, pair: KeyPair) -> bytes:
    """The status line, b'' for a connection that is not served."""
    tls = python_client(ROOT, pair)
    try:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            line = await reader.readline()
            writer.close()
            return line
    except (OSError, ssl.SSLError):
        return b""


async def test_what_one_listener_knows_is_refused_by_the_other(tmp_path: Path) -> None:
    port = free_port()
    other = listener("other", free_port(), crl={"inline_string": ROOT.crl(CART)})
    config = {"static_resources": {"listeners": [listener("in", port), other]}}
    proxy = weft_proxy(config, tmp_path)
    await asyncio.to_thread(proxy.start)
    try:
        assert (await answered(port, SHOP)).startswith(b"HTTP/1.1 200")
        assert await answered(port, CART) == b""
    finally:
        await asyncio.to_thread(proxy.stop)
    assert "the certificate is revoked: spiffe://td/cart" in proxy.log
