"""The words around a call's messages: what the client's head says, and what is said back.

"gRPC over HTTP/2" of grpc.io; no socket, no clock. Values of names that end with -bin are bytes,
and base64 on the wire.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterable
from typing import Final

from controlplane.rpc.codes import INTERNAL, UNIMPLEMENTED, CallRefused
from controlplane.rpc.messages import IDENTITY
from proxy.http.headers import Headers
from proxy.http.message import Request, Response

Value = str | bytes
Metadata = tuple[tuple[str, Value], ...]
"""Names in lower case."""
Given = Iterable[tuple[str, Value]]

# Not the application's (grpc.io: "Reserved headers").
RESERVED: Final = frozenset(
    (b"content-type", b"te", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding")
)
_CONTENT_TYPE: Final = (b"content-type", b"application/grpc")
_ACCEPT: Final = (b"grpc-accept-encoding", IDENTITY)
_grpc_type = re.compile(rb"application/grpc(?:$|[+;])").match
_timeout = re.compile(rb"([0-9]{1,8})([HMSmun])").fullmatch
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_name_match = re.compile(r"[0-9a-z_.-]+").fullmatch
_value_match = re.compile(rb"[\x20-\x7e]*").fullmatch
_unsafe = re.compile(rb"[^\x20-\x24\x26-\x7e]")
_half_escape = re.compile(rb"%.?$")
# gRPC's clients fail a call at random whose trailers are over 8 KB, and always over 16.
MAX_DETAILS_BYTES: Final = 6000


class Head:
    """What a call's head says. timeout_s: None for no deadline."""

    __slots__ = ("metadata", "path", "timeout_s")

    def __init__(self, path: str, metadata: Metadata, timeout_s: float | None) -> None:
        self.path = path
        self.metadata = metadata
        self.timeout_s = timeout_s


def http_refusal(request: Request) -> Response | None:
    """The answer to what is no gRPC (grpc.io: 415 for another content-type)."""
    if _grpc_type(request.headers.get(b"content-type") or b"") is None:
        return Response(415, Headers())
    if request.method != b"POST":
        return Response(405, Headers.of(((b"allow", b"POST"),)))
    return None


def read_head(request: Request) -> Head:
    """Raises CallRefused."""
    headers = request.headers
    encoding = headers.get(b"grpc-encoding") or IDENTITY
    if encoding != IDENTITY:
        name = encoding.decode("latin-1")
        reason = f"messages of grpc-encoding {name!a} are not read: send them uncompressed"
        raise CallRefused(UNIMPLEMENTED, reason)
    timeout = headers.get(b"grpc-timeout")
    return Head(
        request.path.decode("latin-1"),
        _metadata(headers),
        _seconds(timeout) if timeout is not None else None,
    )


def _seconds(timeout: bytes) -> float:
    found = _timeout(timeout)
    if found is None:
        raise CallRefused(INTERNAL, f"grpc-timeout {timeout.decode('latin-1')!a} is malformed")
    return int(found[1]) * _UNITS[found[2]]


def _metadata(headers: Headers) -> Metadata:
    found: list[tuple[str, Value]] = []
    for name, value in headers:
        if name in RESERVED:
            continue
        if name.endswith(b"-bin"):
            key = name.decode("latin-1")
            found += [(key, _from_base64(key, each)) for each in value.split(b",")]
        else:
            found.append((name.decode("latin-1"), value.decode("latin-1")))
    return tuple(found)


def _from_base64(name: str, value: bytes) -> bytes:
    """Padded or not."""
    value = value.strip()
    try:
        return b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except Error:
        raise CallRefused(INTERNAL, f"metadata {name} is no base64") from None


# ------------------------------------------------------------------------------ what is said back


def answer_head(metadata: Given = ()) -> Response:
    """In front of the messages. Raises ValueError for metadata that can't be sent."""
    return Response(200, Headers.of((_CONTENT_TYPE, _ACCEPT, *_pairs(metadata))))


def trailers(code: int, details: str, metadata: Given = ()) -> Headers:
    """Behind the messages. Raises ValueError for metadata that can't be sent."""
    return Headers.of(_status(code, details, metadata))


def only_trailers(code: int, details: str, metadata: Given = ()) -> Response:
    """The answer without messages ("Trailers-Only")."""
    status = _status(code, details, metadata)
    return Response(200, Headers.of((_CONTENT_TYPE, _ACCEPT, *status)))


def _status(code: int, details: str, metadata: Given) -> list[tuple[bytes, bytes]]:
    status = [(b"grpc-status", b"%d" % code)]
    if details:
        status.append((b"grpc-message", percent_encoded(details)))
    return [*status, *_pairs(metadata)]


def percent_encoded(details: str) -> bytes:
    """grpc-message; what is too long for a client is cut."""
    raw = details.encode("utf-8", "replace")
    encoded = _unsafe.sub(_escape, raw)
    if len(encoded) > MAX_DETAILS_BYTES:
        encoded = _half_escape.sub(b"", encoded[: MAX_DETAILS_BYTES - 4]) + b" ..."
    return encoded


def _escape(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]


def _pairs(metadata: Given) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), _written(name, value)) for name, value in metadata]


def _written(name: str, value: Value) -> bytes:
    if _name_match(name) is None or name.startswith("grpc-status"):
        raise ValueError(f"{name!a} is no name for metadata")
    raw = value.encode() if isinstance(value, str) else value
    if name.endswith("-bin"):
        return b64encode(raw).rstrip(b"=")
    if _value_match(raw) is None:
        raise ValueError(f"the value of {name} is not printable ASCII")
    return raw
