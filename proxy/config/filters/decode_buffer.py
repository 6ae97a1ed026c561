"""Decodes `envoy.filters.http.buffer`: the request is passed on when it is whole."""

from __future__ import annotations

from envoy.extensions.filters.http.buffer.v3 import buffer_pb2

from protos.frozen import frozen
from proxy.config.decode_common import PREFIX, parse

TYPE_URL = PREFIX + buffer_pb2.Buffer.DESCRIPTOR.full_name
PER_ROUTE_TYPE_URL = PREFIX + buffer_pb2.BufferPerRoute.DESCRIPTOR.full_name


@frozen
class BufferConfig:
    """max_request_bytes None: nothing is buffered here."""

    max_request_bytes: int | None


def decode(value: bytes, path: str) -> BufferConfig:
    return BufferConfig(parse(buffer_pb2.Buffer, value, path).max_request_bytes.value)


def decode_per_route(value: bytes, path: str) -> BufferConfig:
    message = parse(buffer_pb2.BufferPerRoute, value, path)
    if message.WhichOneof("override") == "disabled":
        return BufferConfig(None)
    return BufferConfig(message.buffer.max_request_bytes.value)
