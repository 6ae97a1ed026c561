"""A `LogRecord` of OpenTelemetry for a stream, and who tells it, as bytes.

The numbers are those of fields in opentelemetry/proto/logs/v1/logs.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from struct import pack
from typing import TYPE_CHECKING, Final

from proxy.config.model import Node
from proxy.config.model.grpc_logs import OtelLog, OtelValue
from proxy.l7.facts import wall_time
from proxy.l7.format import compile_format
from proxy.wire.protobuf import NANOS, data, data_key, readable, words

if TYPE_CHECKING:
    from proxy.l7.logged import Logged

_TIME: Final = b"\x09"
"""time_unix_nano: field 1, 64 bits."""
_BODY: Final = data_key(5)
_ATTRIBUTES: Final = data_key(6)
_TRACE_ID: Final = data_key(9)
_SPAN_ID: Final = data_key(10)
_KEY, _VALUE = data_key(1), data_key(2)
_STRING, _LIST, _OBJECT = data_key(1), data_key(5), data_key(6)
_VALUES: Final = data_key(1)
_RESOURCE_ATTRIBUTES: Final = data_key(1)
Value = Callable[["Logged"], bytes]
"""An `AnyValue` of a stream."""


class OtelEntry:
    """Raises FormatError where a format can't be compiled."""

    def __init__(self, config: OtelLog) -> None:
        self._body = None if config.body is None else _compiled(config.body)
        self._attributes = [(name, _compiled(value)) for name, value in config.attributes]

    def __call__(self, stream: Logged) -> bytes:
        parts = [_TIME + pack("<Q", int(wall_time(stream.started) * NANOS))]
        if self._body is not None:
            parts.append(data(_BODY, self._body(stream)))
        parts += [data(_ATTRIBUTES, _pair(name, of(stream))) for name, of in self._attributes]
        span = None if stream.traced is None else stream.traced.span
        if span is not None:
            parts.append(data(_TRACE_ID, bytes.fromhex(span.trace_id)))
            parts.append(data(_SPAN_ID, bytes.fromhex(span.span_id)))
        return b"".join(parts)


def _pair(name: str, value: bytes) -> bytes:
    return words(_KEY, name) + data(_VALUE, value)


def _compiled(value: OtelValue) -> Value:
    if isinstance(value, str):
        line = compile_format(value)
        return lambda stream: data(_STRING, readable(line(stream)))
    if isinstance(value, Mapping):
        pairs = [(name, _compiled(each)) for name, each in value.items()]
        return lambda stream: data(
            _OBJECT, b"".join([data(_VALUES, _pair(name, of(stream))) for name, of in pairs])
        )
    parts = [_compiled(each) for each in value]
    return lambda stream: data(_LIST, b"".join([data(_VALUES, of(stream)) for of in parts]))


def resource(config: OtelLog, node: Node) -> bytes:
    """A `Resource`: Envoy's words for who tells it, then the configuration's."""
    said: list[tuple[str, OtelValue]] = []
    if config.built_in:
        said += [
            ("log_name", config.log_name),
            ("zone_name", node.locality[1]),
            ("cluster_name", node.cluster),
            ("node_name", node.id),
        ]
    return b"".join(_attributes([*said, *config.resource]))


def _attributes(pairs: Iterable[tuple[str, OtelValue]]) -> list[bytes]:
    return [data(_RESOURCE_ATTRIBUTES, _pair(name, _constant(value))) for name, value in pairs]


def _constant(value: OtelValue) -> bytes:
    if isinstance(value, str):
        return data(_STRING, value.encode("utf-8", "replace"))
    if isinstance(value, Mapping):
        pairs = [data(_VALUES, _pair(name, _constant(each))) for name, each in value.items()]
        return data(_OBJECT, b"".join(pairs))
    return data(_LIST, b"".join([data(_VALUES, _constant(each)) for each in value]))
