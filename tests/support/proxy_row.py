"""Two Weft proxies in a row, with mutual TLS and HTTP/2 between them: what an outsider's client
meets in a mesh.

    client - front (plaintext, or TLS with ALPN) = mTLS, h2 = back - gRPC server or web server
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import grpc

from tests.support.pki import Authority
from tests.support.ports import free_port
from tests.support.weft_proxy import weft_proxy

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
HCM = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
    "HttpConnectionManager"
)
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
LARGEST_MESSAGE_BYTES = 70 << 20
_NEVER = Event()


@dataclass(frozen=True, slots=True)
class Row:
    """Ports of the front proxy; root: the file with the authority of its certificate."""

    plain: int
    tls: int
    root: Path


@contextmanager
def proxy_row(folder: Path, web_port: int, grpc_port: int) -> Iterator[Row]:
    """Front and back, for `/test.Echo/` to the gRPC server and everything else to the web."""
    authority = Authority()
    root = folder / "root.pem"
    root.write_text(authority.pem)
    pair = authority.issue(dns=("localhost",), ips=("127.0.0.1",)).write(folder, "leaf")
    front, front_tls, back = free_port(), free_port(), free_port()
    server = _server_tls(root, pair)
    with ExitStack() as stack:
        for name, config in (
            ("back", _back(back, {**server, "require_client_certificate": True}, web_port,
                           grpc_port)),
            ("front", _front(front, front_tls, server, back, root, pair)),
        ):  # fmt: skip
            directory = folder / name
            directory.mkdir()
            stack.enter_context(weft_proxy(config, directory))
        yield Row(front, front_tls, root)


def _front(
    plain: int, tls: int, server: dict[str, Any], back: int, root: Path, pair: tuple[Path, Path]
) -> dict[str, Any]:
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "back", "timeout": "0s"}}]
    listeners = [_listener("plain", plain, routes), _listener("tls", tls, routes, server)]
    client = {
        "@type": TLS + "UpstreamTlsContext",
        "sni": "localhost",
        "common_tls_context": {
            "tls_certificates": [_certificate(pair)],
            "validation_context": {"trusted_ca": {"filename": str(root)}},
        },
    }
    cluster = {**_cluster("back", back, http2=True), "transport_socket": _socket(client)}
    return {"static_resources": {"listeners": listeners, "clusters": [cluster]}}


def _back(port: int, server: dict[str, Any], web: int, grpc_port: int) -> dict[str, Any]:
    routes = [
        {"match": {"prefix": "/test.Echo/"}, "route": {"cluster": "grpc", "timeout": "0s"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "web", "timeout": "0s"}},
    ]
    clusters = [_cluster("web", web, http2=False), _cluster("grpc", grpc_port, http2=True)]
    listener = _listener("back", port, routes, server)
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _listener(
    name: str, port: int, routes: list[dict[str, Any]], tls: dict[str, Any] | None = None
) -> dict[str, Any]:
    host = {"name": "all", "domains": ["*"], "routes": routes}
    manager = {
        "@type": HCM,
        "stat_prefix": name,
        "route_config": {"name": name, "virtual_hosts": [host]},
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http2_protocol_options": {"allow_connect": True},
    }
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    if tls is not None:
        chain["transport_socket"] = _socket(tls)
    return {"name": name, "address": _address(port), "filter_chains": [chain]}


def _cluster(name: str, port: int, http2: bool) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]
    version = "http2_protocol_options" if http2 else "http_protocol_options"
    options = {
        "@type": f"type.googleapis.com/{OPTIONS}",
        "explicit_http_config": {version: {"allow_connect": True} if http2 else {}},
    }
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
        "typed_extension_protocol_options": {OPTIONS: options},
        "circuit_breakers": {"thresholds": [{"max_requests": 5000, "max_pending_requests": 5000}]},
    }


def _server_tls(root: Path, pair: tuple[Path, Path]) -> dict[str, Any]:
    return {
        "@type": TLS + "DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [_certificate(pair)],
            "validation_context": {"trusted_ca": {"filename": str(root)}},
        },
    }


def _certificate(pair: tuple[Path, Path]) -> dict[str, Any]:
    return {
        "certificate_chain": {"filename": str(pair[0])},
        "private_key": {"filename": str(pair[1])},
    }


def _socket(context: dict[str, Any]) -> dict[str, Any]:
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


# --------------------------------------------------------------------------- the gRPC server


class _Echo(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Messages are bytes. `Say` says it again, `Count` says it byte by byte, `Join` says all of
    it at once, `Chat` answers each; `Wait` never answers."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        name = details.method.rpartition("/")[2]
        kinds = {
            "Say": grpc.unary_unary_rpc_method_handler(lambda message, _: message),
            "Count": grpc.unary_stream_rpc_method_handler(
                lambda message, _: (message[at : at + 1] for at in range(len(message)))
            ),
            "Join": grpc.stream_unary_rpc_method_handler(lambda messages, _: b"".join(messages)),
            "Chat": grpc.stream_stream_rpc_method_handler(lambda messages, _: messages),
            "Wait": grpc.unary_unary_rpc_method_handler(_wait),
            "Fail": grpc.unary_unary_rpc_method_handler(_fail),
        }
        return kinds.get(name)


def _wait(message: bytes, context: grpc.ServicerContext) -> bytes:
    while context.is_active():
        _NEVER.wait(0.01)
    return message


def _fail(message: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.NOT_FOUND, message.decode())
    raise AssertionError("abort raises")


SIZES = [
    ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", LARGEST_MESSAGE_BYTES),
]


@contextmanager
def grpc_server() -> Iterator[int]:
    """The port of a server of `test.Echo`."""
    server = grpc.server(ThreadPoolExecutor(8), handlers=[_Echo()], options=SIZES)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()
