"""`envoy.filters.http.buffer`: a request goes on when all of it is here; too much is 413."""

from __future__ import annotations

from proxy.config.filters.decode_buffer import TYPE_URL, BufferConfig
from proxy.filters.api import WAIT, Answer, Filter, FilterContext, FilterStream, Hooks, Reply
from proxy.http.headers import Headers
from proxy.http.message import CHUNKED

CONTENT_LENGTH = b"content-length"
TOO_LARGE = Reply(413, b"Payload Too Large", "", "request_payload_too_large", close=True)

__all__ = ["TYPE_URL", "build"]


def build(config: BufferConfig, context: FilterContext) -> Filter:
    return Buffer(config)


class Buffer:
    def __init__(self, config: BufferConfig) -> None:
        self._config = config

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        config = overrides[0] if overrides else self._config
        assert isinstance(config, BufferConfig)
        limit_bytes = config.max_request_bytes
        if limit_bytes is None:
            return None

        def on_request(stream: FilterStream) -> Answer:
            if stream.request_done and not stream.body_received:
                return None
            stream.buffer_limit_bytes = limit_bytes
            return WAIT

        def on_request_data(stream: FilterStream, data: bytes, end: bool) -> bytes:
            if stream.body_received > limit_bytes:
                stream.resume(TOO_LARGE)
            return data

        def on_request_end(stream: FilterStream, trailers: Headers | None) -> None:
            if 0 < stream.body_received <= limit_bytes:
                _tell_length(stream, trailers)
                stream.resume()

        return Hooks(on_request, on_request_data=on_request_data, on_request_end=on_request_end)


def _tell_length(stream: FilterStream, trailers: Headers | None) -> None:
    """It is known now; a body with trailers stays chunked."""
    request = stream.request
    if request.length == CHUNKED and trailers is None:
        request.length = stream.body_received
        request.headers.set(CONTENT_LENGTH, b"%d" % stream.body_received)
