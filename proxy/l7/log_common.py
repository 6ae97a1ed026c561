"""`AccessLogCommon`: what an entry of an access log over gRPC says of any stream, as bytes.

The numbers are those of fields in envoy/data/accesslog/v3/accesslog.proto. What depends on the
configuration alone is worked out before a stream ends. Bytes on the wire are told of connections
only: nobody counts those of a request.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from proxy.config.model import SocketAddress
from proxy.config.model.grpc_logs import LogService
from proxy.l7.facts import NUMBERS, forwarded_remote, wall_time
from proxy.l7.log_tls import tls_properties
from proxy.l7.span_tags import compile_tags
from proxy.l7.timing import POINTS
from proxy.l7.upstream_facts import cluster, local_address
from proxy.wire.protobuf import (
    data,
    data_key,
    entry,
    number,
    number_key,
    struct,
    text,
    time,
    varint,
    words,
)

if TYPE_CHECKING:
    from proxy.l7.logged import Logged

_DOWNSTREAM_REMOTE: Final = data_key(2)
_DOWNSTREAM_LOCAL: Final = data_key(3)
_START: Final = data_key(5)
_UPSTREAM_REMOTE: Final = data_key(13)
_UPSTREAM_LOCAL: Final = data_key(14)
_UPSTREAM_CLUSTER: Final = data_key(15)
_FLAGS: Final = data_key(16)
_METADATA: Final = data_key(17)
_UPSTREAM_FAILURE: Final = data_key(18)
_ROUTE: Final = data_key(19)
_DOWNSTREAM_DIRECT: Final = data_key(20)
_STATES: Final = data_key(21)
_TAGS: Final = data_key(22)
_DURATION: Final = data_key(23)
_ATTEMPTS: Final = number_key(24)
_TERMINATION: Final = data_key(25)
_STREAM_ID: Final = data_key(26)
_INTERMEDIATE: Final = number_key(27) + b"\1"
_DOWNSTREAM_FAILURE: Final = data_key(28)
_WIRE_SENT: Final = number_key(29)
_WIRE_RECEIVED: Final = number_key(30)
_UP_WIRE_SENT: Final = number_key(31)
_UP_WIRE_RECEIVED: Final = number_key(32)
_TIMES: Final = [
    (data_key(field), POINTS[point])
    for field, point in (
        (6, "DS_RX_END"),
        (7, "US_TX_BEG"),
        (8, "US_TX_END"),
        (9, "US_RX_BEG"),
        (10, "US_RX_END"),
        (11, "DS_TX_BEG"),
        (12, "DS_TX_END"),
    )
]
_TYPES: Final = {
    name: number_key(33) + varint(value)
    for value, name in enumerate(
        (
            "TcpUpstreamConnected",
            "TcpPeriodic",
            "TcpConnectionEnd",
            "DownstreamStart",
            "DownstreamPeriodic",
            "DownstreamEnd",
            "UpstreamPoolReady",
            "UpstreamPeriodic",
            "UpstreamEnd",
            "DownstreamTunnelSuccessfullyEstablished",
        ),
        1,
    )
}
# The numbers of `ResponseFlags`; Envoy has flags that it does not tell here.
_FLAG_FIELDS: Final = {
    "LH": 1, "UH": 2, "UT": 3, "LR": 4, "UR": 5, "UF": 6, "UC": 7, "UO": 8, "NR": 9, "DI": 10,
    "FI": 11, "RL": 12, "RLSE": 14, "DC": 15, "URX": 16, "SI": 17, "IH": 18, "DPE": 19,
    "UMSDR": 20, "RFCF": 21, "NFCF": 22, "DT": 23, "UPE": 24, "NC": 25, "OM": 26, "DF": 27,
    "DR": 28,
}  # fmt: skip
_UNAUTHORIZED: Final = data(data_key(13), number(number_key(1), 1))
"""`UAEX`: reason EXTERNAL_SERVICE."""
_SOCKET: Final = data_key(1)
_PIPE: Final = data_key(2)
_HOST: Final = data_key(2)
_PORT: Final = number_key(3)
_PATH: Final = data_key(1)
_NAMESPACES: Final = data_key(1)
_TYPE_URL: Final = data_key(1)
_PACKED: Final = data_key(2)
_STRING_TYPE: Final = b"type.googleapis.com/google.protobuf.StringValue"
_STRUCT_TYPE: Final = b"type.googleapis.com/google.protobuf.Struct"
_STRING: Final = data_key(1)
NO_VERSION: Final = b"-"
"""Of the request that a connection does not have."""
STREAM_ID: Final = "weft.stream_id"
"""Of a connection, made for its first entry."""
_attempts = NUMBERS["UPSTREAM_REQUEST_ATTEMPT_COUNT"]
_REQUEST_ID: Final = b"x-request-id"


class Common:
    """Called with a stream; its fields."""

    def __init__(self, config: LogService) -> None:
        self._tags = list(compile_tags(config.tags).items())
        self._states = config.filter_states

    def __call__(self, stream: Logged) -> bytes:
        info = stream.down.info
        parts = [
            data(_DOWNSTREAM_REMOTE, _address(forwarded_remote(stream))),
            data(_DOWNSTREAM_DIRECT, _address(info.remote)),
            data(_DOWNSTREAM_LOCAL, _address(info.local)),
            time(_START, wall_time(stream.started)),
            words(_ROUTE, "" if stream.route is None else stream.route.name),
            _TYPES.get(stream.log_type, b""),
        ]
        if info.tls or info.sni or info.ja3:
            parts.append(tls_properties(stream))
        self._times(parts, stream)
        _upstream(parts, stream)
        if stream.flags:
            parts.append(_flags(stream.flags))
        parts.append(words(_TERMINATION, info.termination))
        parts.append(words(_DOWNSTREAM_FAILURE, info.failure))
        if stream.request.version != NO_VERSION:
            parts.append(text(_STREAM_ID, stream.request.headers.get(_REQUEST_ID) or b""))
        elif stream.log_type in _TYPES:  # not of a listener
            _connection(parts, stream)
        self._said(parts, stream)
        return b"".join(parts)

    def _times(self, parts: list[bytes], stream: Logged) -> None:
        """A connection has no points in time but its begin and its end."""
        started, ended = stream.started, stream.ended
        if ended:
            parts.append(time(_DURATION, ended - started))
        else:
            parts.append(_INTERMEDIATE)
        if stream.request.version == NO_VERSION:
            return
        for key, point in _TIMES:
            at = point(stream)
            if at:
                parts.append(time(key, max(at - started, 0.0)))

    def _said(self, parts: list[bytes], stream: Logged) -> None:
        """Metadata, filter state, and what the configuration wants to be told."""
        metadata = stream.metadata
        if metadata:
            spaces = [entry(_NAMESPACES, name, struct(of)) for name, of in metadata.items()]
            parts.append(data(_METADATA, b"".join(spaces)))
        for name in self._states:
            packed = _packed(stream.filter_state.get(name))
            if packed:
                parts.append(entry(_STATES, name, packed))
        for name, of in self._tags:
            value: Any = stream  # compile_tags reads what a Logged has, of a Stream
            said = of(value)
            if said:
                parts.append(entry(_TAGS, name, said.encode("utf-8", "replace")))


def _upstream(parts: list[bytes], stream: Logged) -> None:
    host = stream.host
    if host is not None:
        parts.append(data(_UPSTREAM_REMOTE, _host_address(host.address)))
    asked = cluster(stream)
    if asked is not None and host is not None:
        parts.append(words(_UPSTREAM_CLUSTER, asked.name))
    local = local_address(stream)
    if local is not None:
        parts.append(data(_UPSTREAM_LOCAL, _address(local)))
    parts.append(words(_UPSTREAM_FAILURE, stream.failure))
    attempts = _attempts(stream)
    if attempts:
        parts.append(number(_ATTEMPTS, int(attempts)))


def _connection(parts: list[bytes], stream: Logged) -> None:
    """What TCP relays are its bytes on both sides."""
    received, sent = stream.bytes_received, stream.bytes_sent
    parts.append(number(_WIRE_RECEIVED, received))
    parts.append(number(_WIRE_SENT, sent))
    if stream.last_up is not None or stream.host is not None:
        parts.append(number(_UP_WIRE_SENT, received))
        parts.append(number(_UP_WIRE_RECEIVED, sent))
    parts.append(words(_STREAM_ID, stream.filter_state.setdefault(STREAM_ID, str(uuid4()))))


def _address(address: tuple[str, int]) -> bytes:
    host, port = address
    return data(_SOCKET, text(_HOST, host.encode()) + _PORT + varint(port))


def _host_address(address: SocketAddress) -> bytes:
    if address.path:
        return data(_PIPE, words(_PATH, address.path))
    return _address((address.host, address.port))


@lru_cache(256)
def _flags(flags: str) -> bytes:
    said = b""
    for flag in flags.split(","):
        if flag in _FLAG_FIELDS:
            said += number(number_key(_FLAG_FIELDS[flag]), 1)
        elif flag == "UAEX":
            said += _UNAUTHORIZED
    return data(_FLAGS, said) if said else b""


def _packed(value: Any) -> bytes:
    """An `Any`; nothing for what is no message."""
    to_json = getattr(value, "as_json", None)
    if to_json is not None:
        value = to_json()
    if isinstance(value, str):
        return text(_TYPE_URL, _STRING_TYPE) + data(_PACKED, words(_STRING, value))
    if isinstance(value, dict):
        return text(_TYPE_URL, _STRUCT_TYPE) + data(_PACKED, struct(value))
    return b""
