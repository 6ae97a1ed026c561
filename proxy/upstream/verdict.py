"""What an answer says about the host that gave it, beside its status."""

from __future__ import annotations

from proxy.http.message import Request, Response

IMMEDIATE_FAIL = b"x-envoy-immediate-health-check-fail"
# Envoy's HTTP status for each of gRPC's.
_OF_GRPC = {
    b"0": 200, b"1": 499, b"2": 500, b"3": 400, b"4": 504, b"5": 404, b"6": 409, b"7": 403,
    b"8": 429, b"9": 400, b"10": 409, b"11": 400, b"12": 501, b"13": 500, b"14": 503, b"15": 500,
    b"16": 401,
}  # fmt: skip
_OTHER = 500


def is_grpc(request: Request) -> bool:
    kind = request.headers.get(b"content-type") or b""
    return kind == b"application/grpc" or kind.startswith(b"application/grpc+")


def status_of_grpc(request: Request, response: Response) -> int | None:
    """The HTTP status that `grpc-status` in the head of an answer stands for; None: it has none.
    One that comes in the trailers is too late for outlier detection (Envoy's rule)."""
    said = response.headers.get(b"grpc-status")
    if said is None or not is_grpc(request) or not said.isdigit():
        return None
    return _OF_GRPC.get(said, _OTHER)


def matched(status: int, errors: frozenset[int]) -> int:
    """The status by which outlier detection counts an answer where a matcher says what is an error:
    another one than 5xx is a 500."""
    if status not in errors:
        return 200
    return status if status >= 500 else 500
