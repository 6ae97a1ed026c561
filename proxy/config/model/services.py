"""Whom a filter asks: another program's HTTP or gRPC service, by the name of its cluster."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.http.inquiry import NEVER, Repeats


@dataclass(frozen=True, slots=True)
class HttpUri:
    """authority and path are those of `uri`."""

    cluster: str
    authority: str
    path: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class GrpcService:
    """timeout_s: 0 is none. metadata: names and values, which may be format strings."""

    cluster: str
    authority: str = ""
    timeout_s: float = 0.0
    metadata: tuple[tuple[str, str], ...] = ()
    repeats: Repeats = NEVER
    max_message_bytes: int = 1024 * 1024
    envoy_headers: bool = True
