"""What a TCP connection tells an access logger at its end: a stream that has no request.

Loggers read the attributes of an HTTP stream; those that TCP does not have are empty here, and a
format prints them as Envoy does for TCP.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proxy.connection import ConnectionInfo, Secured
from proxy.http.headers import Headers
from proxy.http.message import Request

if TYPE_CHECKING:
    from proxy.upstream.cluster import Cluster
    from proxy.upstream.host import Host

# Nobody writes to it: it is only read, by all.
NO_REQUEST = Request(b"", b"", b"", Headers(), version=b"-", scheme=b"-")


@dataclass(frozen=True, slots=True)
class NoForwarding:
    """There is no `x-forwarded-for`: the peer is the client."""

    use_remote_address: bool = False
    xff_num_trusted_hops: int = 0
    skip_xff_append: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """The filter chain's part in it. own_uri: of the certificate that it shows."""

    own_uri: bytes = b""
    config: NoForwarding = NoForwarding()


@dataclass(frozen=True, slots=True)
class Downstream:
    info: ConnectionInfo


@dataclass(frozen=True, slots=True)
class Opened:
    """The connection to the host. local: our own address."""

    local: tuple[str, int] | None
    host: Host
    secured: Secured | None
    protocol: str = ""


@dataclass(slots=True)
class ConnectionRecord:
    """started, ended: monotonic seconds. flags: Envoy's, joined by commas. failure: why the last
    connect failed."""

    down: Downstream
    manager: Chain
    started: float
    ended: float = 0.0
    bytes_received: int = 0
    bytes_sent: int = 0
    flags: str = ""
    failure: str = ""
    attempt: int = 0
    cluster: Cluster | None = None
    host: Host | None = None
    # What only a request has.
    request: Request = field(default=NO_REQUEST)
    response: None = None
    status: int = 0
    detail: str = ""
    sent_at: float = 0.0
    service_ms: int | None = None
    request_done: bool = False
    response_trailers: None = None
    last_up: Opened | None = None
    answered_at: float = 0.0
    tried: None = None
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    filter_state: dict[str, Any] = field(default_factory=dict)
    health_check: bool = False
    log_type: str = "TcpConnectionEnd"
    route: None = None
    counted: tuple[()] = ()
    local_body: bytes = b""
    traced: None = None

    def flag(self, flag: str) -> None:
        self.flags = f"{self.flags},{flag}" if self.flags else flag
