"""gRPC's framing and status, sans-io: length-prefixed messages, trailers, names of codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import unquote

PREFIX_BYTES = 5
PUSHBACK = "grpc-retry-pushback-ms"
MAX_DIGITS = 10
CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
# What an answer without a grpc-status means (grpc.io, "HTTP to gRPC status code mapping").
_OF_HTTP = {
    "400": "INTERNAL", "401": "UNAUTHENTICATED", "403": "PERMISSION_DENIED",
    "404": "UNIMPLEMENTED", "429": "UNAVAILABLE", "502": "UNAVAILABLE", "503": "UNAVAILABLE",
    "504": "UNAVAILABLE",
}  # fmt: skip


class RpcError(ConnectionError):
    """A call that did not end well; the text is one line: the code's name and the details.
    pushback_s: after how long the server wants to hear from us again, None if it did not say."""

    def __init__(self, code: str, details: str = "", pushback_s: float | None = None) -> None:
        text = " ".join(details.split())
        super().__init__(f"{code}: {text}" if text else code)
        self.code = code
        self.pushback_s = pushback_s


def framed(message: bytes) -> bytes:
    """`message` as it is sent: uncompressed, with its length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class MessageReader:
    """Puts messages together from the pieces that DATA frames bring."""

    __slots__ = ("_buffer", "_max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._buffer = bytearray()
        self._max_bytes = max_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now. Raises RpcError for one that is compressed, which
        nobody asked for, or too long."""
        self._buffer += data
        whole: list[bytes] = []
        at = 0
        while len(self._buffer) - at >= PREFIX_BYTES:
            length = int.from_bytes(self._buffer[at + 1 : at + PREFIX_BYTES], "big")
            if self._buffer[at]:
                raise RpcError("INTERNAL", "the server sent a compressed message")
            if length > self._max_bytes:
                raise RpcError("RESOURCE_EXHAUSTED", f"message of {length} bytes is too long")
            end = at + PREFIX_BYTES + length
            if len(self._buffer) < end:
                break
            whole.append(bytes(self._buffer[at + PREFIX_BYTES : end]))
            at = end
        del self._buffer[:at]
        return whole


def status(headers: Iterable[tuple[str, str]]) -> RpcError | None:
    """What trailers (or the only headers) of an answer say; None is OK."""
    fields = dict(headers)
    code = fields.get("grpc-status")
    if code is None:
        http = fields.get(":status", "")
        name = _OF_HTTP.get(http, "UNKNOWN")
        return RpcError(name, f"the server answered with HTTP status {http or 'nothing'}")
    if code == "0":
        return None
    return RpcError(_named(code), unquote(fields.get("grpc-message", "")), _pushback_s(fields))


def _named(code: str) -> str:
    is_number = code.isascii() and code.isdigit() and len(code) <= MAX_DIGITS
    return CODES[int(code)] if is_number and int(code) < len(CODES) else "UNKNOWN"


def _pushback_s(fields: Mapping[str, str]) -> float | None:
    """gRPC proposal A6. A negative number says "do not retry"; the caller knows if it must."""
    milliseconds = fields.get(PUSHBACK, "")
    whole = milliseconds.isascii() and milliseconds.isdigit() and len(milliseconds) <= MAX_DIGITS
    return int(milliseconds) / 1000 if whole else None
