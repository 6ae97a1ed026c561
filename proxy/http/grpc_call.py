"""A gRPC call of the proxy's own: how it asks, and what its outcome means. Sans-io."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.http.grpc import RpcError, status
from proxy.http.headers import Headers
from proxy.http.inquiry import Outcome
from proxy.http.message import Request


def call_head(
    path: bytes, authority: bytes, pairs: Sequence[tuple[bytes, bytes]], length: int
) -> Request:
    """path: of the method. pairs: headers besides those that every call has. length: as a
    Request's."""
    headers = Headers.of([(b"te", b"trailers"), (b"content-type", b"application/grpc"), *pairs])
    return Request(b"POST", path, authority, headers, length, b"HTTP/2")


def error_of(outcome: Outcome) -> RpcError | None:
    """What an answer says in its headers or trailers; None is OK. Not of one that has failed."""
    headers = [*outcome.headers, *(outcome.trailers or ())]
    told = [(name.decode(), value.decode("latin-1")) for name, value in headers]
    return status([(":status", str(outcome.status)), *told])
