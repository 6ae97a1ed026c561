"""What an authorization service is asked, and what it answers (`service.auth.v3`): plain values.

The same for requests and for connections, over gRPC and over HTTP. Knows no message and no filter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.connection import ConnectionInfo

Pairs = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Peer:
    """Of the two ends of a connection. certificate: DER, b'' if it is not to be told."""

    address: tuple[str, int]
    principal: str = ""
    service: str = ""
    certificate: bytes = b""


@dataclass(frozen=True, slots=True)
class HttpPart:
    """headers: with the pseudo-headers. size: bytes of its body that are
    here. body None: it is not told."""

    id: str
    method: str
    path: str
    host: str
    scheme: str
    protocol: str
    size: int
    headers: Pairs
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """began_unix: when the request came. extensions: what routes add. metadata, route_metadata: by
    namespace. sni None: it is not told. raw: headers as a list, the body as bytes."""

    source: Peer
    destination: Peer
    began_unix: float | None = None
    http: HttpPart | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    route_metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sni: str | None = None
    raw_headers: bool = False
    raw_body: bool = False


How = Literal["set", "append", "add", "add_if_absent", "overwrite_if_exists"]
"""append: to a header that is there, joined by a comma."""


@dataclass(frozen=True, slots=True)
class HeaderWrite:
    name: str
    value: bytes
    how: How = "set"


@dataclass(frozen=True, slots=True)
class Verdict:
    """kind ERROR: the service gave no word; status is then 0 or what it wants answered.

    OK: headers are for the request, response_headers for the answer. DENIED: headers are the
    answer's, with status and body. metadata: dynamic, of the filter."""

    kind: Literal["OK", "DENIED", "ERROR"]
    status: int = 0
    headers: tuple[HeaderWrite, ...] = ()
    remove: tuple[str, ...] = ()
    response_headers: tuple[HeaderWrite, ...] = ()
    query_set: tuple[tuple[str, str], ...] = ()
    query_remove: tuple[str, ...] = ()
    body: bytes = b""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""


def peers(
    info: ConnectionInfo, *, service: str = "", own_uri: str = "", certificate: bool = False
) -> tuple[Peer, Peer]:
    """Who asks and whom. A principal is the first URI of the certificate, then the first DNS name,
    then the subject (Envoy)."""
    peer = info.peer
    principal = ""
    if peer is not None:
        principal = next(iter((*peer.uri_sans, *peer.dns_sans)), peer.subject)
    der = peer.der if peer is not None and certificate else b""
    return Peer(info.remote, principal, service, der), Peer(info.local, own_uri)
