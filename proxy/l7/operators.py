"""What each operator of a format string says about a stream.

`getter` makes one closure per operator when a format is compiled; a line then costs one call each.
The grammar is `http.format_string`'s; what speaks of headers and paths is `message_operators`'.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from time import time
from typing import TYPE_CHECKING

from proxy.http.format_string import Operator
from proxy.http.time_format import DEFAULT, DEFAULT_LOCAL, compile_time
from proxy.l7 import grpc_status
from proxy.l7.facts import ADDRESSES, NUMBERS, TEXTS, address_text, network, never, wall_time
from proxy.l7.getters import Getter, Style, Value, of_optional, of_text
from proxy.l7.message_operators import OPERATORS, PSEUDO, request_value
from proxy.l7.structured import STRUCTURED, Encoded, as_text, compact, structured
from proxy.l7.timing import DURATIONS, common_duration
from proxy.l7.upstream_facts import UPSTREAM_ADDRESSES, upstream_peer

if TYPE_CHECKING:
    from proxy.l7.logged import Logged

CERTIFICATE_TIME = "%Y-%m-%dT%H:%M:%S.000Z"


def getter(operator: Operator, style: Style) -> Getter:
    """The closure for `operator`, which `format_string.parse` has accepted."""
    name = operator.name
    if (number := NUMBERS.get(name)) is not None:
        return number
    if (text := TEXTS.get(name)) is not None:
        return of_text(text, style)
    if (duration := DURATIONS.get(name)) is not None:
        return of_optional(duration, style)
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


def is_missing(operator: Operator) -> bool:
    """Is it missing in all streams?"""
    return TEXTS.get(operator.name) is never


def _structured(operator: Operator, style: Style) -> Getter:
    read, missing, length = structured(operator), style.missing, operator.max_length
    clean, stays = style.clean, style.structured

    def get(stream: Logged) -> Value:
        value = read(stream)
        if value is None:
            return missing
        if isinstance(value, str) and not isinstance(value, Encoded):
            return clean(value[:length])
        if stays:
            return value if isinstance(value, Encoded) else compact(value)
        return as_text(value)[:length]  # JSON is harmless already

    return get


# ---------------------------------------------------------------------------- addresses


def _without_port(operator: Operator, style: Style) -> Getter:
    of = ADDRESSES[operator.name.removesuffix("_ADDRESS_WITHOUT_PORT")]
    if not operator.arg:
        return of_text(lambda stream: of(stream)[0], style)
    bits = int(operator.arg)
    return of_text(lambda stream: network(of(stream)[0], bits), style)


def _upstream_address(operator: Operator, style: Style) -> Getter:
    """`UPSTREAM_{LOCAL,REMOTE}_{ADDRESS,ADDRESS_WITHOUT_PORT,PORT}`."""
    side = "_".join(operator.name.split("_")[:2])
    of, what = UPSTREAM_ADDRESSES[side], operator.name.removeprefix(side)
    bits = int(operator.arg) if operator.arg else None

    def fact(stream: Logged) -> str:
        address = of(stream)
        if address is None:
            return ""
        if what == "_ADDRESS":
            return address_text(address)
        return address[0] if bits is None else network(address[0], bits)

    if what == "_PORT":
        return of_optional(lambda stream: None if (a := of(stream)) is None else a[1], style)
    return of_text(fact, style)


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
    return of_optional(common_duration(begin, end, "".join(unit)), style)


def _certificate_time(operator: Operator, style: Style) -> Getter:
    text = compile_time(operator.arg or CERTIFICATE_TIME, False)
    field = "not_before" if operator.name.endswith("START") else "not_after"

    of_host = operator.name.startswith("UPSTREAM")

    def fact(stream: Logged) -> str:
        peer = upstream_peer(stream) if of_host else stream.down.info.peer
        return "" if peer is None else text(getattr(peer, field))

    return of_text(fact, style)


# ---------------------------------------------------------------------------- plain facts


def _grpc_status(operator: Operator, style: Style) -> Getter:
    """Of gRPC requests only; by its name, unless it has none."""
    names = {"SNAKE_STRING": grpc_status.NAMES, "NUMBER": ()}.get(
        operator.arg, grpc_status.CAMEL_NAMES
    )
    if operator.name == "GRPC_STATUS_NUMBER":
        names = ()

    def fact(stream: Logged) -> int | str | None:
        if not grpc_status.is_grpc(stream.request.headers):
            return None
        found = grpc_status.told_status(stream)
        return names[found] if found is not None and found < len(names) else found

    missing, clean = style.missing, style.clean

    def get(stream: Logged) -> Value:
        value = fact(stream)
        if value is None:
            return missing
        return clean(value) if isinstance(value, str) else value

    return get


def _details(operator: Operator, style: Style) -> Getter:
    if operator.arg == "ALLOW_WHITESPACES":
        return of_text(lambda stream: stream.detail, style)
    return of_text(lambda stream: stream.detail.replace(" ", "_"), style)


def _server_name(operator: Operator, style: Style) -> Getter:
    """`(X:Y)`: whether the host stands in for the SNI, or goes first; and which host."""
    original, host = request_value("x-envoy-original-host"), PSEUDO[b":authority"]
    which = {"ORIG": (original,), "HOST": (host,)}.get(operator.alt, (original, host))

    def from_host(stream: Logged) -> str:
        for read in which:
            if value := read(stream):
                return value.decode("latin-1")
        return ""

    if operator.arg == "SNI_FIRST":
        return of_text(lambda stream: stream.down.info.sni or from_host(stream), style)
    if operator.arg == "HOST_FIRST":
        return of_text(lambda stream: from_host(stream) or stream.down.info.sni, style)
    return of_text(lambda stream: stream.down.info.sni, style)


def _local_body(operator: Operator, style: Style) -> Getter:
    """Of our own answer before it was formatted; an empty one is not missing."""
    clean = style.clean
    return lambda stream: clean(stream.local_body.decode("utf-8", "surrogateescape"))


_BUILDERS: Mapping[str, Callable[[Operator, Style], Getter]] = {
    "COMMON_DURATION": _common_duration,
    "DOWNSTREAM_PEER_CERT_V_END": _certificate_time,
    "DOWNSTREAM_PEER_CERT_V_START": _certificate_time,
    "UPSTREAM_PEER_CERT_V_END": _certificate_time,
    "UPSTREAM_PEER_CERT_V_START": _certificate_time,
    "GRPC_STATUS": _grpc_status,
    "GRPC_STATUS_NUMBER": _grpc_status,
    "EMIT_TIME": _emit_time,
    "LOCAL_REPLY_BODY": _local_body,
    "EMIT_TIME_LOCAL": _emit_time,
    "REQUESTED_SERVER_NAME": _server_name,
    "RESPONSE_CODE_DETAILS": _details,
    "START_TIME": _start_time,
    "START_TIME_LOCAL": _start_time,
    **OPERATORS,
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
