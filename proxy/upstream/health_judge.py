"""What an answer to a health check means: pure, whatever it came over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from proxy.config.model import GrpcCheck, HttpCheck
from proxy.http.headers import Headers
from proxy.http.message import Response
from proxy.upstream.verdict import IMMEDIATE_FAIL

# `network`: the connection failed. `retriable`: wrong, but not enough to believe it at once.
Finding = Literal["good", "degraded", "wrong", "retriable", "network"]


@dataclass(frozen=True, slots=True)
class Found:
    """at_once: a bad answer is to be believed without any threshold, and the host not counted.
    status: of a wrong HTTP answer, else 0."""

    finding: Finding
    at_once: bool = False
    status: int = 0


GOOD = Found("good")
LOST = Found("network")
DEGRADED = b"x-envoy-degraded"
CHECKED_CLUSTER = b"x-envoy-upstream-healthchecked-cluster"
_SERVING = 1
_STATUS_FIELD = 0x08  # HealthCheckResponse.status, a varint
_SERVICE_FIELD = 0x0A  # HealthCheckRequest.service, a string
_MAX_VARINT_BYTES = 10


def contains(body: bytes, segments: Iterable[bytes]) -> bool:
    """All of them, one behind the other."""
    at = 0
    for segment in segments:
        at = body.find(segment, at)
        if at < 0:
            return False
        at += len(segment)
    return True


def judge_http(
    check: HttpCheck,
    response: Response,
    body: bytes,
    matches_service: Callable[[bytes], bool] | None,
) -> Found:
    """matches_service: `service_name_matcher`."""
    headers, status = response.headers, response.status
    wrong = Found("wrong", IMMEDIATE_FAIL in headers, status)
    if check.receive and not contains(body, check.receive):
        return wrong
    if not _within(status, check.expected_statuses):
        retriable = _within(status, check.retriable_statuses)
        return Found("retriable", wrong.at_once, status) if retriable else wrong
    name = headers.get(CHECKED_CLUSTER) or b""
    if matches_service is not None and not matches_service(name):
        return Found("wrong", status=status)
    return Found("degraded") if DEGRADED in headers else GOOD


def _within(status: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(start <= status < end for start, end in ranges)


# --------------------------------------------------------------------------- gRPC


def grpc_request(check: GrpcCheck) -> bytes:
    """`grpc.health.v1.HealthCheckRequest`, framed."""
    name = check.service_name.encode()
    message = bytes((_SERVICE_FIELD,)) + _varint(len(name)) + name if name else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


def judge_grpc(head: Response, body: bytes, trailers: Headers | None) -> Found:
    """Serving is the one message with status SERVING, and OK behind it."""
    kind = head.headers.get(b"content-type") or b""
    status = (trailers or head.headers).get(b"grpc-status")
    if head.status != 200 or not kind.startswith(b"application/grpc") or status != b"0":
        return Found("wrong")
    if len(body) < 5 or body[0] or int.from_bytes(body[1:5], "big") != len(body) - 5:
        return Found("wrong")
    return GOOD if _status_of(body[5:]) == _SERVING else Found("wrong")


def _status_of(message: bytes) -> int | None:
    """`HealthCheckResponse.status`; 0 (UNKNOWN) where it is not there, None for other messages."""
    if not message:
        return 0
    if message[0] != _STATUS_FIELD or len(message) > 1 + _MAX_VARINT_BYTES:
        return None
    value = 0
    for at, byte in enumerate(message[1:]):
        value |= (byte & 0x7F) << (7 * at)
        if byte < 0x80:
            return value if at == len(message) - 2 else None
    return None


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
