"""Filter-chain matching judged by a real Envoy: the same chains, the same connections."""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from proxy.config.model import CidrRange, FilterChainMatch
from proxy.connection import ConnectionInfo
from proxy.listen.chain_match import ChainTable
from tests.support.envoy import envoy
from tests.support.pki import Authority, KeyPair
from tests.support.ports import free_port
from tests.support.tls import python_client

_EXTENSIONS = "type.googleapis.com/envoy.extensions."
PORT = -1  # stands for the listener's own port
LOOPBACK = (CidrRange("127.0.0.0", 8),)
SOURCE = (CidrRange("127.0.0.1", 32),)
Match = FilterChainMatch

LISTENERS: dict[str, dict[str, FilterChainMatch]] = {
    "names": {
        "exact": Match(server_names=("www.example.com",)),
        "near": Match(server_names=("*.example.com",)),
        "far": Match(server_names=("*.com", "example.com")),
        "istio": Match(server_names=("*.example.com",), application_protocols=("istio",)),
        "plain": Match(transport_protocol="raw_buffer"),
    },
    "no way back": {
        "port": Match(destination_port=PORT, server_names=("a.test",)),
        "wide": Match(server_names=("b.test", "a.test")),
        "tls": Match(transport_protocol="tls"),
    },
    "protocols": {
        "h2": Match(transport_protocol="tls", application_protocols=("h2",)),
        "istio": Match(transport_protocol="tls", application_protocols=("istio", "istio-peer")),
        "plain if not tls": Match(),
    },
    "addresses": {
        "destination": Match(prefix_ranges=LOOPBACK, server_names=("a.test",)),
        "source": Match(prefix_ranges=LOOPBACK, source_prefix_ranges=SOURCE),
        "elsewhere": Match(prefix_ranges=(CidrRange("10.0.0.0", 8),)),
        "named source": Match(
            prefix_ranges=LOOPBACK, server_names=("*.test",), source_prefix_ranges=SOURCE
        ),
        "any": Match(server_names=("b.test",)),
    },
}


@dataclass(frozen=True, slots=True)
class Attempt:
    server_name: str | None
    alpn: tuple[str, ...] = ()


PLAIN = None
ATTEMPTS: list[Attempt | None] = [
    PLAIN,
    Attempt(None),
    Attempt("www.example.com"),
    Attempt("WWW.EXAMPLE.COM", ("istio",)),
    Attempt("api.example.com"),
    Attempt("api.example.com", ("http/1.1", "istio")),
    Attempt("example.com"),
    Attempt("x.y.z.com"),
    Attempt("com"),
    Attempt("a.test"),
    Attempt("b.test", ("h2", "istio")),
    Attempt("b.test", ("istio-peer", "h2")),
    Attempt("c.test", ("other",)),
]


def test_same_chain_as_envoy(tmp_path: Path) -> None:
    root = Authority()
    pair = root.issue(dns=("*.test",))
    ports = {name: free_port() for name in LISTENERS}
    listeners = [_listener(name, ports[name], LISTENERS[name], pair) for name in LISTENERS]
    differences = []
    with envoy({"static_resources": {"listeners": listeners}}, tmp_path):
        for name, chains in LISTENERS.items():
            for attempt in ATTEMPTS:
                theirs = _chosen_by_envoy(ports[name], attempt, root)
                ours = _chosen_by_us(ports[name], attempt, chains)
                if theirs != ours:
                    differences.append((name, attempt, theirs, ours))
    assert not differences, "(listener, attempt, Envoy, Weft)"


def _chosen_by_us(
    port: int, attempt: Attempt | None, chains: dict[str, FilterChainMatch]
) -> str | None:
    table = ChainTable((_with_port(match, port), name) for name, match in chains.items())
    address = ("127.0.0.1", port)
    info = ConnectionInfo(("127.0.0.1", 5), address, address)
    if attempt is not None:
        info.sni, info.offered_alpn = (attempt.server_name or "").lower(), attempt.alpn
    found = table.find(info, "tls" if attempt is not None else "raw_buffer")
    if attempt is None and found is not None and not _is_plaintext(found):
        return None  # chosen, but it speaks TLS and can't say its name
    return found


def _is_plaintext(chain: str) -> bool:
    return chain.startswith("plain")


def _with_port(match: FilterChainMatch, port: int) -> FilterChainMatch:
    return replace(match, destination_port=port) if match.destination_port == PORT else match


def _chosen_by_envoy(port: int, attempt: Attempt | None, root: Authority) -> str | None:
    """The chain's name out of its direct response; None when the connection was closed."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
            return _ask(plain, attempt, root)
    except (ConnectionError, ssl.SSLError):
        return None


def _ask(plain: socket.socket, attempt: Attempt | None, root: Authority) -> str | None:
    request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
    if attempt is None:
        plain.sendall(request)
        return _body(plain)
    context = python_client(root, alpn=attempt.alpn)
    with context.wrap_socket(plain, server_hostname=attempt.server_name) as secure:
        secure.sendall(request)
        return _body(secure)


def _body(connection: socket.socket) -> str | None:
    received = b""
    while not received.endswith(b"}") and (part := connection.recv(65536)):
        received += part
    return json.loads(received.partition(b"\r\n\r\n")[2])["chain"] if received else None


def _listener(
    name: str, port: int, chains: dict[str, FilterChainMatch], pair: KeyPair
) -> dict[str, Any]:
    inspector = (
        "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
    )
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "listener_filters": [{"name": "tls_inspector", "typed_config": {"@type": inspector}}],
        "filter_chains": [
            _chain(name, chain, _with_port(match, port), pair) for chain, match in chains.items()
        ],
    }


def _chain(listener: str, name: str, match: FilterChainMatch, pair: KeyPair) -> dict[str, Any]:
    answer = {"status": 200, "body": {"inline_string": json.dumps({"chain": name})}}
    host = {
        "name": "v",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": answer}],
    }
    manager = {
        "@type": _EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "codec_type": "HTTP1",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": _EXTENSIONS + "filters.http.router.v3.Router"},
            }
        ],
    }
    chain: dict[str, Any] = {
        "name": f"{listener} {name}",
        "filter_chain_match": _match(match),
        "filters": [{"name": "hcm", "typed_config": manager}],
    }
    if not _is_plaintext(name):
        chain["transport_socket"] = _tls(pair)
    return chain


def _match(match: FilterChainMatch) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "destination_port": match.destination_port,
        "server_names": list(match.server_names),
        "transport_protocol": match.transport_protocol,
        "application_protocols": list(match.application_protocols),
        "prefix_ranges": [_range(each) for each in match.prefix_ranges],
        "source_prefix_ranges": [_range(each) for each in match.source_prefix_ranges],
    }
    return {name: value for name, value in fields.items() if value}


def _range(each: CidrRange) -> dict[str, Any]:
    return {"address_prefix": each.address, "prefix_len": each.prefix_len}


def _tls(pair: KeyPair) -> dict[str, Any]:
    kind = _EXTENSIONS + "transport_sockets.tls.v3.DownstreamTlsContext"
    certificate = {
        "certificate_chain": {"inline_string": pair.certificate},
        "private_key": {"inline_string": pair.key},
    }
    common = {"tls_certificates": [certificate]}
    return {"name": "tls", "typed_config": {"@type": kind, "common_tls_context": common}}
