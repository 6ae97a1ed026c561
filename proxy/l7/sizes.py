"""How many bytes of headers a message has, without framing (Envoy's HeaderMap::byteSize)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from proxy.http.headers import Headers

if TYPE_CHECKING:
    from proxy.l7.logged import Logged


def _block(headers: Headers) -> int:
    return sum(map(len, headers.shape.names)) + sum(map(len, headers.values))


def _request(stream: Logged) -> int:
    request = stream.request
    pseudo = len(b":method:path:authority:scheme") + len(request.method) + len(request.path)
    return _block(request.headers) + pseudo + len(request.authority) + len(request.scheme)


def _response(stream: Logged) -> int:
    response = stream.response
    return 0 if response is None else _block(response.headers) + len(b":status200")


def _trailers(stream: Logged) -> int:
    return 0 if stream.response_trailers is None else _block(stream.response_trailers)


SIZES: Mapping[str, Callable[[Logged], int]] = {
    "REQUEST_HEADERS_BYTES": _request,
    "RESPONSE_HEADERS_BYTES": _response,
    "RESPONSE_TRAILERS_BYTES": _trailers,
}
