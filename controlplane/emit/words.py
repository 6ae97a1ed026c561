"""Small protobuf phrases that every kind of resource uses."""

from __future__ import annotations

import ipaddress

from envoy.config.core.v3.address_pb2 import Address, CidrRange, Pipe, SocketAddress
from envoy.config.core.v3.config_source_pb2 import (
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
)
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from controlplane.mesh.ip import is_ip
from controlplane.mesh.model import StringMatch


def packed(message: Message) -> Any:
    """`message` as an Any, with the same bytes every time."""
    any_message = Any()
    any_message.Pack(message, deterministic=True)
    return any_message


def seconds(value_s: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(value_s * 1e9))
    return duration


def over_ads() -> ConfigSource:
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


UNIX = "unix://"


def socket_address(address: str, port: int) -> Address:
    """Of an IP address, a name, or a unix socket (unix:///path, unix://@name) without a port."""
    if address.startswith(UNIX):
        return Address(pipe=Pipe(path=address.removeprefix(UNIX)))
    return Address(socket_address=SocketAddress(address=address, port_value=port))


def string_matcher(match: StringMatch) -> StringMatcher:
    """A regex is RE2 and must match the whole string (Istio's rule and Envoy's)."""
    if match.kind == "exact":
        return StringMatcher(exact=match.value)
    if match.kind == "prefix":
        return StringMatcher(prefix=match.value)
    return StringMatcher(safe_regex=RegexMatcher(regex=match.value))


def is_place(address: str) -> bool:
    """Not a name that must be looked up."""
    return address.startswith(UNIX) or is_ip(address)


def is_ipv6(address: str) -> bool:
    return is_ip(address) and ":" in address


def cidr(written: str) -> CidrRange:
    """Of an address, or of a range whose address may have bits beyond its prefix."""
    network = ipaddress.ip_network(written, strict=False)
    made = CidrRange(address_prefix=str(network.network_address))
    made.prefix_len.value = network.prefixlen
    return made
