"""Decodes what every resource is made of: `Any`, durations, addresses, matchers, header edits.

Each function takes a message that `parse` or `unpack` has already checked (field table and PGV)
and the path that errors are to name.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping, Set
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf import any_pb2, duration_pb2, struct_pb2
from google.protobuf.message import DecodeError, Message

from proxy.config import fields, pgv
from proxy.config.model import (
    CidrRange,
    DataSource,
    FractionalPercent,
    HeaderEdits,
    HeaderValueOption,
    Metadata,
    SocketAddress,
)
from proxy.config.rejected import Rejected, at
from proxy.http.format_string import FormatError, Operator, check_format
from proxy.http.format_string import parse as parse_format
from proxy.http.regex import compiled

M = TypeVar("M", bound=Message)
T = TypeVar("T")
PREFIX = "type.googleapis.com/"
PROGRAM_SIZE = 100
"""Envoy's default of the runtime key `re2.max_program_size.error_level`."""

_program_size = [PROGRAM_SIZE]
_DENOMINATORS = {0: 100, 1: 10_000, 2: 1_000_000}


def checked(message: M, path: str = "") -> M:
    """`message` itself, after the field table and Envoy's own rules have been held against it."""
    fields.check(message, path)
    pgv.validate(message, path)
    return message


def parse(kind: type[M], value: bytes, path: str = "") -> M:
    """The checked message in `value`; bytes that are no such message are Rejected."""
    try:
        message = kind.FromString(value)
    except DecodeError:
        name = kind.DESCRIPTOR.full_name
        raise Rejected(path, f"is not a serialized {name}") from None
    return checked(message, path)


def type_name(packed: any_pb2.Any) -> str:
    """The full name of the message inside."""
    return packed.type_url.rpartition("/")[2]


def unpack(kind: type[M], packed: any_pb2.Any, path: str) -> M:
    """The checked message inside an `Any` that must hold a `kind`."""
    wanted = kind.DESCRIPTOR.full_name
    if type_name(packed) != wanted:
        raise unsupported_type(packed, path, (wanted,))
    return parse(kind, packed.value, path)


def unsupported_type(packed: any_pb2.Any, path: str, supported: Iterable[str]) -> Rejected:
    found = type_name(packed)
    names = ", ".join(sorted(supported))
    if not found:
        return Rejected(path, f"is required: one of {names}")
    return Rejected(path, f"type {found} is {fields.UNSUPPORTED} (it knows {names})")


def seconds(duration: duration_pb2.Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def optional_seconds(message: Any, name: str) -> float | None:
    """The duration in field `name` in seconds; None when it is not set."""
    return seconds(getattr(message, name)) if message.HasField(name) else None


def seconds_or(message: Any, name: str, default: float) -> float:
    return seconds(getattr(message, name)) if message.HasField(name) else default


def value_or(message: Any, name: str, default: Any) -> Any:
    """The value of the wrapper in field `name`, `default` when it is not set."""
    return getattr(message, name).value if message.HasField(name) else default


def address(message: address_pb2.Address, path: str) -> SocketAddress:
    if message.WhichOneof("address") == "pipe":
        return SocketAddress("", path=message.pipe.path)
    inner = message.socket_address
    if inner.protocol != address_pb2.SocketAddress.TCP:
        raise Rejected(f"{path}.socket_address.protocol", f"UDP is {fields.UNSUPPORTED}")
    return SocketAddress(inner.address, inner.port_value, ipv4_compat=inner.ipv4_compat)


def is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def ip_address(message: address_pb2.Address, path: str) -> SocketAddress:
    """An address that must be an IP (or a Unix socket), as Envoy wants where nothing resolves."""
    found = address(message, path)
    if not found.path and not is_ip(found.host):
        raise Rejected(f"{path}.socket_address.address", f"`{found.host}` is not an IP address")
    return found


def cidr(message: address_pb2.CidrRange, path: str) -> CidrRange:
    length = message.prefix_len.value
    try:
        network = ipaddress.ip_network((message.address_prefix, length), strict=False)
    except ValueError:
        raise Rejected(path, f"`{message.address_prefix}/{length}` is no range of IPs") from None
    return CidrRange(str(network.network_address), network.prefixlen)


def text_range(text: str, path: str) -> CidrRange:
    """Of `10.0.0.0/8`."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise Rejected(path, f"`{text}` is no range of IPs") from None
    return CidrRange(str(network.network_address), network.prefixlen)


def cidrs(messages: Iterable[address_pb2.CidrRange], path: str) -> tuple[CidrRange, ...]:
    return tuple(cidr(each, f"{path}[{i}]") for i, each in enumerate(messages))


def locality(message: base_pb2.Locality) -> tuple[str, str, str]:
    return (message.region, message.zone, message.sub_zone)


def struct(message: struct_pb2.Struct) -> dict[str, Any]:
    """As plain data. json_format would refuse NaN and infinity, which may well come."""
    return {key: _plain(value) for key, value in message.fields.items()}


def _plain(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return struct(value.struct_value)
    if kind == "list_value":
        return [_plain(each) for each in value.list_value.values]
    if kind is None or kind == "null_value":
        return None
    return getattr(value, kind)


def enum_name(kind: Any, number: int) -> str:
    """The word of an enum's value, the number itself where there is none."""
    value = kind.DESCRIPTOR.values_by_number.get(number)
    return value.name if value is not None else str(number)


def choice(table: Mapping[int, T], number: int, path: str) -> T:
    """The entry for an enum's value; one that is not in `table` is refused by its number."""
    if number not in table:
        raise Rejected(path, f"{number} is no value that this version of Weft knows")
    return table[number]


def metadata(message: base_pb2.Metadata) -> Metadata:
    return {name: struct(value) for name, value in message.filter_metadata.items()}


def percent(
    message: percent_pb2.FractionalPercent, path: str, runtime_key: str = ""
) -> FractionalPercent:
    denominator = choice(_DENOMINATORS, message.denominator, f"{path}.denominator")
    return FractionalPercent(message.numerator, denominator, runtime_key)


def data_source(message: base_pb2.DataSource, path: str) -> DataSource:
    """Reads a file or an environment variable now; what it names must be there."""
    kind = message.WhichOneof("specifier")
    if kind == "inline_bytes":
        return DataSource(message.inline_bytes)
    if kind == "inline_string":
        return DataSource(message.inline_string.encode())
    if kind == "environment_variable":
        name = message.environment_variable
        if name not in os.environ:
            raise Rejected(at(path, kind), f"the environment variable {name} does not exist")
        return DataSource(os.environ[name].encode(), f"${name}")
    try:
        return DataSource(Path(message.filename).read_bytes(), message.filename)
    except OSError as error:
        why = f"cannot read `{message.filename}`: {error.strerror}"
        raise Rejected(at(path, "filename"), why) from None
    except ValueError as error:
        raise Rejected(at(path, "filename"), f"is no file name: {error}") from None


def header_edits(message: Any, path: str) -> HeaderEdits:
    """The four `{request,response}_headers_to_{add,remove}` of a route, virtual host ..."""
    if not (
        message.request_headers_to_add
        or message.request_headers_to_remove
        or message.response_headers_to_add
        or message.response_headers_to_remove
    ):
        return _NO_EDITS
    return HeaderEdits(
        headers_to_add(message.request_headers_to_add, f"{path}.request_headers_to_add"),
        headers_to_remove(message.request_headers_to_remove, f"{path}.request_headers_to_remove"),
        headers_to_add(message.response_headers_to_add, f"{path}.response_headers_to_add"),
        headers_to_remove(message.response_headers_to_remove, f"{path}.response_headers_to_remove"),
    )


_NO_EDITS = HeaderEdits()


def headers_to_add(
    messages: Iterable[base_pb2.HeaderValueOption], path: str
) -> tuple[HeaderValueOption, ...]:
    return tuple(header_option(each, f"{path}[{i}]") for i, each in enumerate(messages))


def format_string(text: str, path: str, brought: Set[str] = frozenset()) -> str:
    """`text` if it is a format string whose operators we know; Rejected names the one that is
    not. brought: operators that formatters bring."""
    try:
        check_format(text, brought)
    except FormatError as error:
        raise Rejected(path, str(error)) from None
    return text


def plain_text(text: str, path: str) -> str:
    """What a format string says that no stream is asked about; operators are refused there."""
    plain = ""
    for part in parse_format(format_string(text, path)):
        if isinstance(part, Operator):
            raise Rejected(path, f"%{part.name}% is {fields.UNSUPPORTED} where there is no request")
        plain += part.text
    return plain


def header_option(message: base_pb2.HeaderValueOption, path: str) -> HeaderValueOption:
    name = message.header.key.lower()
    if name.startswith(":") or name == "host":
        raise Rejected(f"{path}.header.key", ":-prefixed or host headers may not be modified")
    if message.header.value and message.header.raw_value:
        raise Rejected(f"{path}.header", "value and raw_value are both set")
    value = message.header.value or message.header.raw_value.decode("latin-1")
    format_string(value, f"{path}.header.value")
    action = choice(APPEND_ACTIONS, message.append_action, f"{path}.append_action")
    if message.HasField("append"):
        if message.append_action:
            raise Rejected(path, "append and append_action are both set")
        action = APPEND_ACTIONS[0 if message.append.value else 2]
    return HeaderValueOption(message.header.key, value, action, message.keep_empty_value)


APPEND_ACTIONS: Mapping[int, Any] = {
    number: value.name
    for number, value in (
        base_pb2.HeaderValueOption.HeaderAppendAction.DESCRIPTOR.values_by_number.items()
    )
}


def headers_to_remove(names: Iterable[str], path: str) -> tuple[str, ...]:
    found = tuple(name.lower() for name in names)
    for index, name in enumerate(found):
        if name.startswith(":") or name == "host":
            raise Rejected(f"{path}[{index}]", ":-prefixed or host headers may not be removed")
    return found


def bound_programs(size: int) -> None:
    """How long a regular expression's program may be, for all of the process, as in Envoy."""
    _program_size[0] = size
    regex_error.cache_clear()


@cache
def regex_error(pattern: str) -> str | None:
    """What RE2 says against `pattern`; None when it compiles. RE2 is loaded at first use."""
    import re2

    try:
        size = compiled(pattern).programsize
    except re2.error as error:
        reason = error.args[0] if error.args else error
        return reason.decode() if isinstance(reason, bytes) else str(reason)
    if size > _program_size[0]:
        return f"its program has a size of {size}, more than {_program_size[0]}"
    return None


def regex(pattern: str, path: str) -> str:
    if (wrong := regex_error(pattern)) is not None:
        raise Rejected(f"{path}.regex", f"`{pattern}` is not a regular expression of RE2: {wrong}")
    return pattern
