"""An entry of an access log over gRPC: `HTTPAccessLogEntry` or `TCPAccessLogEntry`, as bytes.

One per stream, made at its end. The numbers are those of fields in
envoy/data/accesslog/v3/accesslog.proto. Knows not who is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.config.model.grpc_logs import GrpcLog, LogService
from proxy.http.headers import Headers
from proxy.l7.log_common import Common
from proxy.l7.message_operators import ORIGINAL_PATH, PSEUDO
from proxy.l7.sizes import SIZES
from proxy.wire.protobuf import data, data_key, entry, number, number_key, readable, text, varint

if TYPE_CHECKING:
    from proxy.l7.logged import Logged

_COMMON: Final = data_key(1)
_VERSION: Final = number_key(2)
_REQUEST: Final = data_key(3)
_RESPONSE: Final = data_key(4)
_CONNECTION: Final = data_key(2)
_VERSIONS: Final = {
    b"HTTP/1.0": _VERSION + b"\1",
    b"HTTP/1.1": _VERSION + b"\2",
    b"HTTP/2": _VERSION + b"\3",
}
# HTTPRequestProperties
_METHOD: Final = number_key(1)
_SCHEME: Final = data_key(2)
_AUTHORITY: Final = data_key(3)
_PATH: Final = data_key(5)
_NAMED: Final = [
    (data_key(6), b"user-agent"),
    (data_key(7), b"referer"),
    (data_key(8), b"x-forwarded-for"),
    (data_key(9), b"x-request-id"),
    (data_key(10), ORIGINAL_PATH),
]
_HEADERS_BYTES: Final = number_key(11)
_BODY_BYTES: Final = number_key(12)
_HEADERS: Final = data_key(13)
_METHODS: Final = {
    b"GET": 1, b"HEAD": 2, b"POST": 3, b"PUT": 4, b"DELETE": 5, b"CONNECT": 6, b"OPTIONS": 7,
    b"TRACE": 8, b"PATCH": 9,
}  # fmt: skip
# HTTPResponseProperties
_CODE: Final = data_key(1)
_CODE_VALUE: Final = number_key(1)
_ANSWER_HEADERS_BYTES: Final = number_key(2)
_ANSWER_BODY_BYTES: Final = number_key(3)
_ANSWER_HEADERS: Final = data_key(4)
_ANSWER_TRAILERS: Final = data_key(5)
_DETAILS: Final = data_key(6)
# ConnectionProperties
_RECEIVED: Final = number_key(1)
_SENT: Final = number_key(2)
_request_size = SIZES["REQUEST_HEADERS_BYTES"]
_response_size = SIZES["RESPONSE_HEADERS_BYTES"]


class HttpEntry:
    """`HTTPAccessLogEntry` of a stream."""

    def __init__(self, config: GrpcLog) -> None:
        self._common = Common(config.service)
        names = [name.encode() for name in config.request_headers]
        self._pseudo = [name for name in names if name in PSEUDO]
        self._request_headers = [name for name in names if name not in PSEUDO]
        self._response_headers = [name.encode() for name in config.response_headers]
        self._response_trailers = [name.encode() for name in config.response_trailers]

    def __call__(self, stream: Logged) -> bytes:
        return b"".join(
            [
                data(_COMMON, self._common(stream)),
                _VERSIONS.get(stream.request.version, b""),
                data(_REQUEST, self._request(stream)),
                data(_RESPONSE, self._response(stream)),
            ]
        )

    def _request(self, stream: Logged) -> bytes:
        request = stream.request
        if not request.method:  # a connection, or what could not be read
            return number(_BODY_BYTES, stream.bytes_received)
        headers = request.headers
        parts = [
            number(_METHOD, _METHODS.get(request.method, 0)),
            text(_SCHEME, request.scheme),
            text(_AUTHORITY, request.authority),
            text(_PATH, request.path),
            number(_HEADERS_BYTES, _request_size(stream)),
            number(_BODY_BYTES, stream.bytes_received),
        ]
        index = headers.shape.index
        for key, name in _NAMED:
            if name in index:
                parts.append(text(key, headers.joined(name) or b""))
        _add(parts, _HEADERS, headers, self._request_headers)
        for name in self._pseudo:
            value = PSEUDO[name](stream)
            if value is not None:
                parts.append(entry(_HEADERS, name.decode(), readable(value)))
        return b"".join(parts)

    def _response(self, stream: Logged) -> bytes:
        parts = [
            text(_DETAILS, stream.detail.encode("utf-8", "replace")),
            number(_ANSWER_HEADERS_BYTES, _response_size(stream)),
            number(_ANSWER_BODY_BYTES, stream.bytes_sent),
        ]
        if stream.status:
            parts.append(data(_CODE, _CODE_VALUE + varint(stream.status)))
        response, trailers = stream.response, stream.response_trailers
        if response is not None:
            _add(parts, _ANSWER_HEADERS, response.headers, self._response_headers)
            if b":status" in self._response_headers:
                parts.append(entry(_ANSWER_HEADERS, ":status", b"%d" % stream.status))
        if trailers is not None:
            _add(parts, _ANSWER_TRAILERS, trailers, self._response_trailers)
        return b"".join(parts)


class TcpEntry:
    """`TCPAccessLogEntry` of a stream."""

    def __init__(self, config: LogService) -> None:
        self._common = Common(config)

    def __call__(self, stream: Logged) -> bytes:
        said = number(_RECEIVED, stream.bytes_received) + number(_SENT, stream.bytes_sent)
        return data(_COMMON, self._common(stream)) + data(_CONNECTION, said)


def _add(parts: list[bytes], key: bytes, headers: Headers, names: list[bytes]) -> None:
    index = headers.shape.index
    for name in names:
        if name in index:
            value = headers.joined(name) or b""
            parts.append(entry(key, name.decode(), readable(value)))
