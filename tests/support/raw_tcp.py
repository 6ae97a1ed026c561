"""Plain TCP for tests of relaying: servers that do one thing per connection, and a bootstrap."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

TYPES = "type.googleapis.com/envoy.extensions."
TCP_PROXY = TYPES + "filters.network.tcp_proxy.v3.TcpProxy"
FILE_LOG = TYPES + "access_loggers.file.v3.FileAccessLog"
TIMEOUT_S = 60.0
Serve = Callable[[socket.socket], None]


class TcpServer:
    """`with TcpServer(serve) as server:` calls `serve` with each accepted socket, in a thread, and
    closes it then."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._accepted: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for sock in self._accepted:
            sock.close()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            sock.settimeout(TIMEOUT_S)
            self._accepted.append(sock)
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        try:
            self._serve(sock)
        except OSError:  # what the client saw is what the test looks at
            pass
        finally:
            sock.close()


def dial(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)


def read_to_end(sock: socket.socket) -> bytes:
    """All that comes up to the peer's end; b'RESET' is appended where it broke off."""
    found = b""
    try:
        while data := sock.recv(1 << 16):
            found += data
    except ConnectionResetError:
        found += b"RESET"
    return found


def reset(sock: socket.socket) -> None:
    """Closes with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# --------------------------------------------------------------------------- configuration


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def file_log(path: Path, line: str) -> dict[str, Any]:
    config = {"@type": FILE_LOG, "path": str(path)}
    config["log_format"] = {"text_format_source": {"inline_string": line}}  # type: ignore[assignment]
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def tcp_listener(
    name: str, port: int, cluster: str, tls: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """tls: a `DownstreamTlsContext`. fields: of the `TcpProxy`."""
    proxy = {"@type": TCP_PROXY, "stat_prefix": name, "cluster": cluster, **fields}
    chain: dict[str, Any] = {"filters": [{"name": "tcp", "typed_config": proxy}]}
    if tls is not None:
        typed = {"@type": TYPES + "transport_sockets.tls.v3.DownstreamTlsContext", **tls}
        chain["transport_socket"] = {"name": "tls", "typed_config": typed}
    return {"name": name, "address": address(port), "filter_chains": [chain]}


def tcp_cluster(
    name: str, ports: Sequence[int], tls: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """tls: an `UpstreamTlsContext`. fields: of the `Cluster`."""
    hosts = [{"endpoint": {"address": address(port)}} for port in ports]
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}] if hosts else []}
    found = {"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": assignment}
    if tls is not None:
        typed = {"@type": TYPES + "transport_sockets.tls.v3.UpstreamTlsContext", **tls}
        found["transport_socket"] = {"name": "tls", "typed_config": typed}
    return {**found, **fields}


def static(listeners: list[dict[str, Any]], clusters: list[dict[str, Any]]) -> dict[str, Any]:
    return {"static_resources": {"listeners": listeners, "clusters": clusters}}
