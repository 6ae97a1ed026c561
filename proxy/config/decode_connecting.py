"""Decodes what lies below HTTP and TLS: source addresses, socket options, the PROXY protocol."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, proxy_protocol_pb2, socket_option_pb2
from envoy.extensions.filters.listener.proxy_protocol.v3 import (
    proxy_protocol_pb2 as listener_proxy_protocol_pb2,
)
from envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2

from proxy.config import decode_tls
from proxy.config.decode_common import is_ip, type_name, unpack, value_or
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import SocketAddress, UpstreamTls
from proxy.config.model.connecting import (
    NO_SOCKETS,
    ProxyProtocolIn,
    ProxyProtocolOut,
    SocketOption,
    Sockets,
    TcpKeepalive,
    TlvRule,
)
from proxy.config.rejected import Rejected, at

_CONFIG = proxy_protocol_pb2.ProxyProtocolConfig
_TLVS = proxy_protocol_pb2.ProxyProtocolPassThroughTLVs
_WRAPPER = upstream_proxy_protocol_pb2.ProxyProtocolUpstreamTransport
_IN = listener_proxy_protocol_pb2.ProxyProtocol
PROXY_PROTOCOL = _IN.DESCRIPTOR.full_name


def sockets(message: cluster_pb2.Cluster, path: str) -> Sockets:
    found = NO_SOCKETS
    if message.HasField("upstream_bind_config"):
        found = bind_config(message.upstream_bind_config, at(path, "upstream_bind_config"))
    options = message.upstream_connection_options
    if options.HasField("tcp_keepalive"):
        found = replace(found, keepalive=_keepalive(options.tcp_keepalive))
    return found


def bind_config(message: address_pb2.BindConfig, path: str) -> Sockets:
    source = None
    if message.HasField("source_address"):
        source = _source(message.source_address, at(path, "source_address"))
    others = [
        _source(each.address, f"{path}.extra_source_addresses[{i}].address")
        for i, each in enumerate(message.extra_source_addresses)
    ]
    return Sockets(
        source, tuple(others), socket_options(message.socket_options, at(path, "socket_options"))
    )


def _source(message: address_pb2.SocketAddress, path: str) -> SocketAddress:
    if not is_ip(message.address):
        raise Rejected(at(path, "address"), f"`{message.address}` is not an IP address")
    return SocketAddress(message.address, message.port_value)


TRANSPARENT = (SocketOption(0, 19, 1),)
"""IP_TRANSPARENT (linux/in.h): what TPROXY sends to a socket has to be taken in by it."""


def socket_options(
    messages: Iterable[socket_option_pb2.SocketOption], path: str
) -> tuple[SocketOption, ...]:
    """Those for stream sockets; the state says at which moment, which makes no difference here."""
    found = []
    for i, each in enumerate(messages):
        if each.WhichOneof("value") is None:
            raise Rejected(f"{path}[{i}]", "needs a value: int_value or buf_value")
        value = each.buf_value if each.WhichOneof("value") == "buf_value" else each.int_value
        found.append(SocketOption(each.level, each.name, value))
    return tuple(found)


def _keepalive(message: address_pb2.TcpKeepalive) -> TcpKeepalive:
    return TcpKeepalive(
        value_or(message, "keepalive_probes", None),
        value_or(message, "keepalive_time", None),
        value_or(message, "keepalive_interval", None),
    )


# --------------------------------------------------------------------------- PROXY protocol


def transport(
    socket: base_pb2.TransportSocket | None, path: str
) -> tuple[UpstreamTls | None, ProxyProtocolOut | None]:
    """The TLS to a cluster, and the PROXY protocol before it."""
    if socket is None:
        return None, None
    if type_name(socket.typed_config) != _WRAPPER.DESCRIPTOR.full_name:
        return decode_tls.upstream(socket, path), None
    where = at(path, "typed_config")
    message = unpack(_WRAPPER, socket.typed_config, where)
    out = _proxy_protocol(message.config, at(where, "config"))
    if not message.HasField("transport_socket"):
        raise Rejected(at(where, "transport_socket"), "is required")
    inner = at(where, "transport_socket")
    return decode_tls.upstream(message.transport_socket, inner), out


def _proxy_protocol(message: proxy_protocol_pb2.ProxyProtocolConfig, path: str) -> ProxyProtocolOut:
    added = []
    for i, each in enumerate(message.added_tlvs):
        if each.HasField("format_string"):
            raise Rejected(f"{path}.added_tlvs[{i}].format_string", UNSUPPORTED)
        added.append((each.type, each.value))
    return ProxyProtocolOut(
        2 if message.version == _CONFIG.V2 else 1,
        _passed(message) if message.HasField("pass_through_tlvs") else frozenset(),
        tuple(added),
    )


def _passed(message: Any) -> frozenset[int] | None:
    tlvs = message.pass_through_tlvs
    if tlvs.match_type == _TLVS.INCLUDE_ALL:
        return None
    return frozenset(tlvs.tlv_type)


def proxy_protocol_in(packed: Any, path: str) -> ProxyProtocolIn:
    """The listener filter."""
    message = unpack(_IN, packed, path)
    disallowed = frozenset(2 if each == _CONFIG.V2 else 1 for each in message.disallowed_versions)
    if len(disallowed) == 2:
        raise Rejected(at(path, "disallowed_versions"), "must leave one version")
    return ProxyProtocolIn(
        rules=tuple(
            TlvRule(
                each.tlv_type,
                each.on_tlv_present.metadata_namespace or "envoy.filters.listener.proxy_protocol",
                each.on_tlv_present.key,
            )
            for each in message.rules
        ),
        allow_without=message.allow_requests_without_proxy_protocol,
        kept=_passed(message) if message.HasField("pass_through_tlvs") else frozenset(),
        disallowed=disallowed,
        stat_prefix=message.stat_prefix,
    )
