"""A finished stream to log, without a proxy: plain facts under the names that `l7.stream` has."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from proxy.config.model import SocketAddress
from proxy.connection import ConnectionInfo, PeerCertificate
from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from proxy.upstream.host import Host

Pairs = list[tuple[str, str]]


def headers(pairs: Pairs) -> Headers:
    return Headers.of((name.encode(), value.encode("latin-1")) for name, value in pairs)


def connection(peer: PeerCertificate | None = None, sni: str = "") -> ConnectionInfo:
    local = ("10.0.0.2", 8080)
    info = ConnectionInfo(("10.1.10.23", 50000), local, ("10.0.0.2", 15006), sni=sni, peer=peer)
    if peer is not None:
        info.tls, info.tls_version, info.cipher = True, "TLSv1.3", "TLS_AES_128_GCM_SHA256"
    return info


def request(path: str = "/items?q=1", pairs: Pairs | None = None, method: str = "GET") -> Request:
    return Request(method.encode(), path.encode("latin-1"), b"shop.test", headers(pairs or []))


@dataclass
class LoggedStream:
    """As after a GET that an upstream answered with 200; times are monotonic seconds."""

    request: Request = field(default_factory=request)
    response: Response | None = field(default_factory=lambda: Response(200, headers([])))
    down: Any = field(default_factory=lambda: SimpleNamespace(info=connection()))
    status: int = 200
    flags: str = ""
    detail: str = "via_upstream"
    failure: str = ""
    started: float = 100.0
    ended: float = 100.25
    sent_at: float = 100.0
    service_ms: int | None = 20
    answered_at: float = 100.0205
    response_trailers: Headers | None = None
    last_up: Any = field(
        default_factory=lambda: SimpleNamespace(
            local=("10.0.0.2", 40000),
            secured=None,
            protocol="HTTP/1.1",
            host=Host(SocketAddress("10.0.0.3", 9000)),
        )
    )
    tried: list[Host] | None = None
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    filter_state: dict[str, Any] = field(default_factory=dict)
    counted: tuple[Any, ...] = ()
    local_body: bytes = b"body"
    health_check: bool = False
    log_type: str = "DownstreamEnd"
    traced: None = None
    request_done: bool = True
    bytes_received: int = 0
    bytes_sent: int = 5
    attempt: int = 1
    host: Host | None = field(default_factory=lambda: Host(SocketAddress("10.0.0.3", 9000)))
    cluster: Any = field(
        default_factory=lambda: SimpleNamespace(
            name="outbound|80||shop", config=SimpleNamespace(alt_stat_name="", metadata={})
        )
    )
    route: Any = field(
        default_factory=lambda: SimpleNamespace(name="default", metadata={}, choose=lambda _: None)
    )
    manager: Any = field(default_factory=lambda: manager())


def manager(edge: bool = False, hops: int = 0, skip_append: bool = False) -> Any:
    """A connection manager's part in it: what it believes of `x-forwarded-for`."""
    config = SimpleNamespace(
        use_remote_address=edge, xff_num_trusted_hops=hops, skip_xff_append=skip_append
    )
    return SimpleNamespace(config=config, own_uri=b"spiffe://cluster.local/ns/a/sa/own")
