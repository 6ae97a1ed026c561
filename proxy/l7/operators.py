"""What each operator of a format string says about a stream.

`getter` makes one closure per operator when a format is compiled; a line then costs one call each.
`Style` is what sets the access log, JSON and header values apart. The grammar is
`http.format_string`'s.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from proxy.http.format_string import Operator
from proxy.http.time_format import DEFAULT, DEFAULT_LOCAL, compile_time
from proxy.l7 import grpc_status
from proxy.l7.facts import ADDRESSES, NUMBERS, TEXTS, address_text, network, never, wall_time
from proxy.l7.structured import STRUCTURED, Encoded, as_text, compact, structured
from proxy.l7.timing import DURATIONS, common_duration
from proxy.l7.upstream_facts import UPSTREAM_ADDRESSES

if TYPE_CHECKING:
    from proxy.l7.stream import Stream

Value = str | int | None
Getter = Callable[["Stream"], Value]
Read = Callable[["Stream"], bytes | None]

# Lists that Envoy keeps as one value; of any other repeated header it logs the first.
JOINED = frozenset(
    (b"accept", b"accept-encoding", b"cache-control", b"te", b"via", b"x-forwarded-client-cert",
     b"x-forwarded-for", b"x-forwarded-host")
)  # fmt: skip
ORIGINAL_PATH = b"x-envoy-original-path"
CERTIFICATE_TIME = "%Y-%m-%dT%H:%M:%S.000Z"


@dataclass(frozen=True, slots=True)
class Style:
    """missing: what stands for a value that is not there. clean: makes a peer's text harmless.
    decode: its bytes to text, cleaned too. structured: objects and booleans stay what they are."""

    missing: str | None
    clean: Callable[[str], str]
    decode: Callable[[bytes], str]
    structured: bool = False


def getter(operator: Operator, style: Style) -> Getter:
    """The closure for `operator`, which `format_string.parse` has accepted."""
    name = operator.name
    if (number := NUMBERS.get(name)) is not None:
        return number
    if (text := TEXTS.get(name)) is not None:
        return _text(text, style)
    if (duration := DURATIONS.get(name)) is not None:
        return _optional(duration, style)
    if name in STRUCTURED:
        return _structured(operator, style)
    return _BUILDERS[name](operator, style)


def constant_value(operator: Operator) -> str | None:
    """The value of an operator that is the same for all streams, else None."""
    if operator.name == "HOSTNAME":
        return socket.gethostname()
    if operator.name == "ENVIRONMENT":
        return os.environ.get(operator.arg, "-")[: operator.max_length]
    return None


def _text(fact: Callable[[Stream], str], style: Style) -> Getter:
    missing, clean = style.missing, style.clean

    def get(stream: Stream) -> Value:
        value = fact(stream)
        return clean(value) if value else missing

    return get


def _optional(fact: Callable[[Stream], int | None], style: Style) -> Getter:
    missing = style.missing

    def get(stream: Stream) -> Value:
        value = fact(stream)
        return missing if value is None else value

    return get


def is_missing(operator: Operator) -> bool:
    """Is it missing in all streams?"""
    return TEXTS.get(operator.name) is never


def _bytes(read: Read, operator: Operator, style: Style, other: Read | None = None) -> Getter:
    """`other` is asked when the first has nothing."""
    missing, decode, length = style.missing, style.decode, operator.max_length

    def get(stream: Stream) -> Value:
        value = read(stream)
        return missing if value is None else decode(value)

    def get_either(stream: Stream) -> Value:
        value = read(stream)
        if value is None and other is not None:
            value = other(stream)
        return missing if value is None else decode(value[:length])

    return get if other is None and length is None else get_either


def _structured(operator: Operator, style: Style) -> Getter:
    read, missing, length = structured(operator), style.missing, operator.max_length
    clean, stays = style.clean, style.structured

    def get(stream: Stream) -> Value:
        value = read(stream)
        if value is None:
            return missing
        if isinstance(value, str) and not isinstance(value, Encoded):
            return clean(value[:length])
        if stays:
            return value if isinstance(value, Encoded) else compact(value)
        return as_text(value)[:length]  # JSON is harmless already

    return get


# ---------------------------------------------------------------------------- headers


def _request_value(name: str) -> Read:
    """Of a header; `host` is the authority (RFC 9113 section 8.3.1)."""
    key = name.lower().encode()
    if (pseudo := _PSEUDO.get(key)) is not None:
        return pseudo
    if key in JOINED:
        return lambda stream: stream.request.headers.joined(key)
    return lambda stream: stream.request.headers.get(key)


def _response_value(name: str) -> Read:
    key = name.lower().encode()
    if key == b":status":
        return lambda stream: b"%d" % stream.status if stream.status else None
    if key in JOINED:
        return lambda stream: r.headers.joined(key) if (r := stream.response) else None
    return lambda stream: r.headers.get(key) if (r := stream.response) else None


def _trailer_value(name: str) -> Read:
    key = name.lower().encode()
    return lambda stream: t.joined(key) if (t := stream.response_trailers) is not None else None


def _original_path(stream: Stream) -> bytes | None:
    """What the client asked for, if the route has rewritten it."""
    return stream.request.headers.get(ORIGINAL_PATH)


_PSEUDO: Mapping[bytes, Read] = {
    b":method": lambda stream: stream.request.method or None,
    b":path": lambda stream: stream.request.path or None,
    b":authority": lambda stream: stream.request.authority or None,
    b"host": lambda stream: stream.request.authority or None,
    b":scheme": lambda stream: stream.request.scheme,
    ORIGINAL_PATH: _original_path,
}


def _one_header(key: bytes, style: Style) -> Getter:
    """The most common operator, in as few calls as can be."""
    missing, decode = style.missing, style.decode

    def get(stream: Stream) -> Value:
        headers = stream.request.headers
        at = headers.shape.index.get(key)
        return missing if at is None else decode(headers.values[at])

    return get


def _one_answer_header(key: bytes, style: Style) -> Getter:
    missing, decode = style.missing, style.decode

    def get(stream: Stream) -> Value:
        response = stream.response
        at = None if response is None else response.headers.shape.index.get(key)
        return missing if response is None or at is None else decode(response.headers.values[at])

    return get


def _request_header(operator: Operator, style: Style) -> Getter:
    key = operator.arg.lower().encode()
    if not operator.alt and operator.max_length is None and key not in {*_PSEUDO, *JOINED}:
        return _one_header(key, style)
    other = _request_value(operator.alt) if operator.alt else None
    return _bytes(_request_value(operator.arg), operator, style, other)


def _request_header_without_query(operator: Operator, style: Style) -> Getter:
    other = _without_query(_request_value(operator.alt)) if operator.alt else None
    return _bytes(_without_query(_request_value(operator.arg)), operator, style, other)


def _response_header(operator: Operator, style: Style) -> Getter:
    key = operator.arg.lower().encode()
    if not operator.alt and operator.max_length is None and key not in {b":status", *JOINED}:
        return _one_answer_header(key, style)
    other = _response_value(operator.alt) if operator.alt else None
    return _bytes(_response_value(operator.arg), operator, style, other)


def _response_trailer(operator: Operator, style: Style) -> Getter:
    other = _trailer_value(operator.alt) if operator.alt else None
    return _bytes(_trailer_value(operator.arg), operator, style, other)


def _stream_id(operator: Operator, style: Style) -> Getter:
    """Envoy's default request id extension makes the two the same."""
    return _bytes(_request_value("x-request-id"), operator, style)


# ---------------------------------------------------------------------------- path and query


def _path(operator: Operator, style: Style) -> Getter:
    path = _PSEUDO[b":path"]
    read = {"ORIG": _original_path, "PATH": path}.get(operator.alt, _original_path)
    other = path if operator.alt in ("", "ORIG_OR_PATH") else None
    if operator.arg != "NQ":
        return _bytes(read, operator, style, other)
    return _bytes(_without_query(read), operator, style, _without_query(other) if other else None)


def _without_query(read: Read) -> Read:
    return lambda stream: None if (path := read(stream)) is None else path.partition(b"?")[0]


def _query_params(operator: Operator, style: Style) -> Getter:
    decoded = operator.arg == "DECODED"

    def read(stream: Stream) -> bytes | None:
        query = stream.request.path.partition(b"?")[2]
        return (unquote_to_bytes(query) if decoded else query) or None

    return _bytes(read, operator, style)


def _query_param(operator: Operator, style: Style) -> Getter:
    wanted = operator.arg.encode()

    def read(stream: Stream) -> bytes | None:
        for pair in stream.request.path.partition(b"?")[2].split(b"&"):
            name, _, value = pair.partition(b"=")
            if unquote_to_bytes(name) == wanted:
                return unquote_to_bytes(value)
        return None

    return _bytes(read, operator, style)


# ---------------------------------------------------------------------------- addresses


def _without_port(operator: Operator, style: Style) -> Getter:
    of = ADDRESSES[operator.name.removesuffix("_ADDRESS_WITHOUT_PORT")]
    if not operator.arg:
        return _text(lambda stream: of(stream)[0], style)
    bits = int(operator.arg)
    return _text(lambda stream: network(of(stream)[0], bits), style)


def _upstream_address(operator: Operator, style: Style) -> Getter:
    """`UPSTREAM_{LOCAL,REMOTE}_{ADDRESS,ADDRESS_WITHOUT_PORT,PORT}`."""
    side = "_".join(operator.name.split("_")[:2])
    of, what = UPSTREAM_ADDRESSES[side], operator.name.removeprefix(side)
    bits = int(operator.arg) if operator.arg else None

    def fact(stream: Stream) -> str:
        address = of(stream)
        if address is None:
            return ""
        if what == "_ADDRESS":
            return address_text(address)
        return address[0] if bits is None else network(address[0], bits)

    if what == "_PORT":
        return _optional(lambda stream: None if (a := of(stream)) is None else a[1], style)
    return _text(fact, style)


# ---------------------------------------------------------------------------- time


def _start_time(operator: Operator, style: Style) -> Getter:
    text = _time_text(operator)
    return lambda stream: text(wall_time(stream.started))


def _emit_time(operator: Operator, style: Style) -> Getter:
    text = _time_text(operator)
    return lambda stream: text(time())


def _time_text(operator: Operator) -> Callable[[float], str]:
    local = operator.name.endswith("_LOCAL")
    return compile_time(operator.arg or (DEFAULT_LOCAL if local else DEFAULT), local)


def _common_duration(operator: Operator, style: Style) -> Getter:
    begin, end, *unit = operator.arg.split(":")
    return _optional(common_duration(begin, end, "".join(unit)), style)


def _certificate_time(operator: Operator, style: Style) -> Getter:
    text = compile_time(operator.arg or CERTIFICATE_TIME, False)
    field = "not_before" if operator.name.endswith("START") else "not_after"

    def fact(stream: Stream) -> str:
        peer = stream.down.info.peer
        return "" if peer is None else text(getattr(peer, field))

    return _text(fact, style)


# ---------------------------------------------------------------------------- plain facts


def _grpc_status(operator: Operator, style: Style) -> Getter:
    """Of gRPC requests only; by its name, unless it has none."""
    names = {"SNAKE_STRING": grpc_status.NAMES, "NUMBER": ()}.get(
        operator.arg, grpc_status.CAMEL_NAMES
    )
    if operator.name == "GRPC_STATUS_NUMBER":
        names = ()

    def fact(stream: Stream) -> int | str | None:
        if not grpc_status.is_grpc(stream.request.headers):
            return None
        found = grpc_status.told_status(stream)
        return names[found] if found is not None and found < len(names) else found

    missing, clean = style.missing, style.clean

    def get(stream: Stream) -> Value:
        value = fact(stream)
        if value is None:
            return missing
        return clean(value) if isinstance(value, str) else value

    return get


def _details(operator: Operator, style: Style) -> Getter:
    if operator.arg == "ALLOW_WHITESPACES":
        return _text(lambda stream: stream.detail, style)
    return _text(lambda stream: stream.detail.replace(" ", "_"), style)


def _server_name(operator: Operator, style: Style) -> Getter:
    """`(X:Y)`: whether the host stands in for the SNI, or goes first; and which host."""
    original, host = _request_value("x-envoy-original-host"), _PSEUDO[b":authority"]
    which = {"ORIG": (original,), "HOST": (host,)}.get(operator.alt, (original, host))

    def from_host(stream: Stream) -> str:
        for read in which:
            if value := read(stream):
                return value.decode("latin-1")
        return ""

    if operator.arg == "SNI_FIRST":
        return _text(lambda stream: stream.down.info.sni or from_host(stream), style)
    if operator.arg == "HOST_FIRST":
        return _text(lambda stream: from_host(stream) or stream.down.info.sni, style)
    return _text(lambda stream: stream.down.info.sni, style)


def _local_body(operator: Operator, style: Style) -> Getter:
    """Of our own answer before it was formatted; an empty one is not missing."""
    clean = style.clean
    return lambda stream: clean(stream.local_body.decode("utf-8", "surrogateescape"))


_BUILDERS: Mapping[str, Callable[[Operator, Style], Getter]] = {
    "COMMON_DURATION": _common_duration,
    "DOWNSTREAM_PEER_CERT_V_END": _certificate_time,
    "DOWNSTREAM_PEER_CERT_V_START": _certificate_time,
    "GRPC_STATUS": _grpc_status,
    "GRPC_STATUS_NUMBER": _grpc_status,
    "EMIT_TIME": _emit_time,
    "LOCAL_REPLY_BODY": _local_body,
    "EMIT_TIME_LOCAL": _emit_time,
    "PATH": _path,
    "QUERY_PARAM": _query_param,
    "QUERY_PARAMS": _query_params,
    "REQ": _request_header,
    "REQ_WITHOUT_QUERY": _request_header_without_query,
    "REQUESTED_SERVER_NAME": _server_name,
    "RESP": _response_header,
    "RESPONSE_CODE_DETAILS": _details,
    "START_TIME": _start_time,
    "START_TIME_LOCAL": _start_time,
    "STREAM_ID": _stream_id,
    "TRAILER": _response_trailer,
    **{
        f"{side}_{what}": _upstream_address
        for side in UPSTREAM_ADDRESSES
        for what in ("ADDRESS", "ADDRESS_WITHOUT_PORT", "PORT")
    },
    **{f"{name}_ADDRESS_WITHOUT_PORT": _without_port for name in ADDRESSES},
}

UNQUOTED = frozenset(
    {"EMIT_TIME", "EMIT_TIME_LOCAL", "PROTOCOL", "RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG",
     "START_TIME", "START_TIME_LOCAL", "UNIQUE_ID"}
)  # fmt: skip
"""Text that is no peer's and passes no style's `clean`: whoever writes JSON quotes it."""
HARMLESS = frozenset({"PROTOCOL", "RESPONSE_FLAGS", "START_TIME"})
"""Those of them that hold nothing to escape, without an argument."""
