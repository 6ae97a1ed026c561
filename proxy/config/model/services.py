"""Whom a filter asks: another program's HTTP or gRPC service, by the name of its cluster."""

from __future__ import annotations

from protos.frozen import frozen
from proxy.http.inquiry import NEVER, Repeats


@frozen
class HttpUri:
    """authority and path are those of `uri`."""

    cluster: str
    authority: str
    path: str
    timeout_s: float


@frozen
class GrpcService:
    """timeout_s: 0 is none. metadata: names and values, which may be format strings."""

    cluster: str
    authority: str = ""
    timeout_s: float = 0.0
    metadata: tuple[tuple[str, str], ...] = ()
    repeats: Repeats = NEVER
    max_message_bytes: int = 1024 * 1024
    envoy_headers: bool = True

    @property
    def told_authority(self) -> bytes:
        return (self.authority or self.cluster).encode()
