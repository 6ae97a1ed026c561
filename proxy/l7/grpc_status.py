"""How a gRPC call ended: its status by number and by name, from trailers, headers or HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.http.headers import Headers

if TYPE_CHECKING:
    from proxy.l7.logged import Logged

NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
CAMEL_NAMES = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound",
    "AlreadyExists", "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted",
    "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
)  # fmt: skip
UNKNOWN = 2
# https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_STATUS = b"grpc-status"


def is_grpc(headers: Headers) -> bool:
    kind = headers.get(b"content-type") or b""
    return kind == b"application/grpc" or kind.startswith(b"application/grpc+")


def told_status(stream: Logged) -> int | None:
    """What the answer says: in its trailers, or in a head that is all of it."""
    trailers, response = stream.response_trailers, stream.response
    value = trailers.get(_STATUS) if trailers is not None else None
    if value is None and response is not None:
        value = response.headers.get(_STATUS)
    return int(value) if value is not None and value.isdigit() and len(value) < 10 else None


def status(stream: Logged) -> int | None:
    """Also by the HTTP status, which stands for one where the answer says nothing."""
    told = told_status(stream)
    if told is not None or not stream.status:
        return told
    return _OF_HTTP.get(stream.status, UNKNOWN)
