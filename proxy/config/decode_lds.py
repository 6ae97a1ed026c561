"""Decodes a `Listener`: its address, listener filters and filter chains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any, Literal

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.original_src.v3 import original_src_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from proxy.config import decode_ports, decode_tls, structs
from proxy.config.decode_access_log import access_logs
from proxy.config.decode_common import (
    choice,
    cidrs,
    ip_address,
    optional_seconds,
    seconds_or,
    struct,
    text_range,
    type_name,
    unpack,
    unsupported_type,
    value_or,
)
from proxy.config.decode_connecting import (
    PROXY_PROTOCOL,
    TRANSPARENT,
    proxy_protocol_in,
    socket_options,
)
from proxy.config.decode_hcm import connection_manager
from proxy.config.decode_network import GUARDS, counted, network_guards
from proxy.config.decode_tcp import tcp_proxy
from proxy.config.fields import UNSUPPORTED
from proxy.config.filters import DECODERS, FilterDecoders
from proxy.config.model import (
    CidrRange,
    Explanations,
    FilterChain,
    FilterChainMatch,
    HttpConnectionManager,
    Listener,
    SocketAddress,
    TcpProxy,
)
from proxy.config.model.connecting import OriginalSrc, ProxyProtocolIn
from proxy.config.model.listeners import NO_EXPLANATIONS, PortRanges
from proxy.config.rejected import Rejected, at

EXPLAIN = "weft.explain"
"""The namespace of a filter chain's metadata that says where policies stand."""
ON_DEMAND = "weft.on_demand"
"""The namespace of a listener's metadata that says that others are asked for by name."""

Direction = Literal["UNSPECIFIED", "INBOUND", "OUTBOUND"]
_DIRECTIONS: Mapping[int, Direction] = {
    base_pb2.UNSPECIFIED: "UNSPECIFIED",
    base_pb2.INBOUND: "INBOUND",
    base_pb2.OUTBOUND: "OUTBOUND",
}
_INSPECTORS: Mapping[str, Any] = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        tls_inspector_pb2.TlsInspector,
        http_inspector_pb2.HttpInspector,
        original_dst_pb2.OriginalDst,
        original_src_pb2.OriginalSrc,
    )
}
_NETWORK_FILTERS: Mapping[str, Any] = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (hcm_pb2.HttpConnectionManager, tcp_proxy_pb2.TcpProxy)
}
_TRANSPORTS = ("", "raw_buffer", "tls")


def listener(
    message: listener_pb2.Listener, path: str = "", decoders: FilterDecoders = DECODERS
) -> Listener:
    """`message` must be checked. `decoders`: the HTTP filters, by type URL."""
    if not message.HasField("address"):
        raise Rejected(at(path, "address"), "is required")
    inspectors = _inspectors(message.listener_filters, at(path, "listener_filters"))
    shut = _shut(message.listener_filters, at(path, "listener_filters"))
    transparent = message.transparent.value
    options = socket_options(message.socket_options, at(path, "socket_options"))
    proxied = [each for each in inspectors if isinstance(each, ProxyProtocolIn)]
    sources = [each for each in inspectors if isinstance(each, OriginalSrc)]
    return Listener(
        name=message.name,
        address=_address(message, at(path, "address")),
        filter_chains=_filter_chains(message, path, decoders),
        default_filter_chain=_filter_chain(
            message.default_filter_chain, at(path, "default_filter_chain"), decoders
        )
        if message.HasField("default_filter_chain")
        else None,
        tls_inspector=tls_inspector_pb2.TlsInspector in inspectors,
        ja3="ja3" in inspectors,
        ja4="ja4" in inspectors,
        http_inspector=http_inspector_pb2.HttpInspector in inspectors,
        not_for_tls=shut.get(tls_inspector_pb2.TlsInspector, ()),
        not_for_http=shut.get(http_inspector_pb2.HttpInspector, ()),
        transparent=transparent,
        original_dst=original_dst_pb2.OriginalDst in inspectors,
        original_src=sources[0] if sources else None,
        use_original_dst=message.use_original_dst.value,
        bind_to_port=_bind_to_port(message),
        listener_filters_timeout_s=seconds_or(message, "listener_filters_timeout", 15.0),
        continue_on_listener_filters_timeout=message.continue_on_listener_filters_timeout,
        per_connection_buffer_limit_bytes=value_or(
            message, "per_connection_buffer_limit_bytes", 1024 * 1024
        ),
        tcp_backlog_size=value_or(message, "tcp_backlog_size", 128),
        traffic_direction=choice(
            _DIRECTIONS, message.traffic_direction, at(path, "traffic_direction")
        ),
        stat_prefix=message.stat_prefix,
        access_log=access_logs(message.access_log, at(path, "access_log")),
        proxy_protocol=proxied[0] if proxied else None,
        socket_options=(*(TRANSPARENT if transparent else ()), *options),
        asks=ON_DEMAND in message.metadata.filter_metadata,
        asks_within=_asks_within(message, path),
        additional_addresses=tuple(
            _address(each, at(path, f"additional_addresses[{i}].address"))
            for i, each in enumerate(message.additional_addresses)
        ),
    )


def _asks_within(message: listener_pb2.Listener, path: str) -> tuple[CidrRange, ...]:
    if ON_DEMAND not in message.metadata.filter_metadata:
        return ()
    path = at(path, f"metadata.filter_metadata[{ON_DEMAND}]")
    said = struct(message.metadata.filter_metadata[ON_DEMAND])
    given = structs.fields(said, path, ("ranges",))
    return tuple(
        text_range(one, f"{path}.ranges[{i}]")
        for i, one in enumerate(structs.texts(given, "ranges", path))
    )


def _address(
    message: listener_pb2.Listener | listener_pb2.AdditionalAddress, path: str
) -> SocketAddress:
    found = ip_address(message.address, path)
    dual = found.host == "::" or found.host.startswith("::ffff:")
    if message.address.socket_address.ipv4_compat and not dual:
        raise Rejected(f"{path}.socket_address.ipv4_compat", "is only for `::` or `::ffff:...`")
    return found


def _bind_to_port(message: listener_pb2.Listener) -> bool:
    old: bool = value_or(message.deprecated_v1, "bind_to_port", True)
    new: bool = value_or(message, "bind_to_port", True)
    return old and new


def _inspectors(
    messages: Iterable[listener_components_pb2.ListenerFilter], path: str
) -> frozenset[Any]:
    found: set[Any] = set()
    for i, each in enumerate(messages):
        where = f"{path}[{i}].typed_config"
        kind = _INSPECTORS.get(type_name(each.typed_config))
        if type_name(each.typed_config) == PROXY_PROTOCOL:
            found.add(proxy_protocol_in(each.typed_config, where))
            continue
        if kind is None:
            raise unsupported_type(each.typed_config, where, (*_INSPECTORS, PROXY_PROTOCOL))
        made = unpack(kind, each.typed_config, where)
        found.add(kind)
        if isinstance(made, tls_inspector_pb2.TlsInspector):
            found.update(["ja3"] if made.enable_ja3_fingerprinting.value else ())
            found.update(["ja4"] if made.enable_ja4_fingerprinting.value else ())
        elif isinstance(made, original_src_pb2.OriginalSrc):
            found.add(OriginalSrc(made.mark, made.bind_port))
    return frozenset(found)


def _shut(
    messages: Iterable[listener_components_pb2.ListenerFilter], path: str
) -> Mapping[Any, PortRanges]:
    """By inspector: the ports into whose connections it does not look."""
    found: dict[Any, PortRanges] = {}
    for i, each in enumerate(messages):
        if not each.HasField("filter_disabled"):
            continue
        where = f"{path}[{i}].filter_disabled"
        kind = _INSPECTORS.get(type_name(each.typed_config))
        if kind not in (tls_inspector_pb2.TlsInspector, http_inspector_pb2.HttpInspector):
            raise Rejected(where, "is for tls_inspector and http_inspector only")
        found[kind] = decode_ports.ports(each.filter_disabled, where)
    return found


def _filter_chains(
    message: listener_pb2.Listener, path: str, decoders: FilterDecoders
) -> tuple[FilterChain, ...]:
    """Two chains that match the same connections are refused, as Envoy does."""
    where = at(path, "filter_chains")
    if not message.filter_chains and not message.HasField("default_filter_chain"):
        raise Rejected(where, "needs at least one filter chain")
    chains: list[FilterChain] = []
    same: dict[FilterChainMatch, int] = {}
    seen: dict[tuple[object, ...], int] = {}
    for i, each in enumerate(message.filter_chains):
        chain = _filter_chain(each, f"{where}[{i}]", decoders)
        if (first := same.setdefault(chain.match, i)) != i:
            raise Rejected(
                f"{where}[{i}]", f"has the same matching rules as filter_chains[{first}]"
            )
        for rules in _rules(chain.match):
            if rules in seen:
                why = f"overlaps with filter_chains[{seen[rules]}]: both match some connections"
                raise Rejected(f"{where}[{i}].filter_chain_match", why)
            seen[rules] = i
        chains.append(chain)
    return tuple(chains)


def _rules(match: FilterChainMatch) -> Iterator[tuple[object, ...]]:
    """One value of each criterion: each way in which a connection may match."""
    return product(
        (match.destination_port or 0,),
        match.prefix_ranges or (None,),
        match.server_names or ("",),
        (match.transport_protocol,),
        match.application_protocols or ("",),
        match.source_prefix_ranges or (None,),
        match.source_ports or (0,),
    )


def _filter_chain(
    message: listener_components_pb2.FilterChain, path: str, decoders: FilterDecoders
) -> FilterChain:
    socket = message.transport_socket if message.HasField("transport_socket") else None
    guards = network_guards(message.filters[:-1], f"{path}.filters")
    stats = counted(message.filters[:-1], f"{path}.filters")
    last = _network_filter(message, f"{path}.filters", decoders)
    if stats is not None and not isinstance(last, TcpProxy):
        raise Rejected(f"{path}.filters", "istio.stats of HTTP stands among the HTTP filters")
    return FilterChain(
        match=_match(message.filter_chain_match, f"{path}.filter_chain_match"),
        http=None if isinstance(last, TcpProxy) else last,
        tcp=last if isinstance(last, TcpProxy) else None,
        guards=guards,
        tls=decode_tls.downstream(socket, f"{path}.transport_socket") if socket else None,
        name=message.name,
        transport_socket_connect_timeout_s=optional_seconds(
            message, "transport_socket_connect_timeout"
        ),
        explanations=explanations(message.metadata, f"{path}.metadata"),
        counted=stats,
    )


def explanations(message: base_pb2.Metadata, path: str) -> Explanations:
    """Weft's own part of the metadata; all others are nobody's here."""
    if EXPLAIN not in message.filter_metadata:
        return NO_EXPLANATIONS
    where = f"{path}.filter_metadata[{EXPLAIN}]"
    value = struct(message.filter_metadata[EXPLAIN])
    tells, tokens = value.pop("body", False), value.pop("tokens", {})
    if value:
        raise Rejected(f"{where}.{min(value)}", "is no field of weft.explain")
    pairs = isinstance(tokens, dict) and all(_is_pair(each) for each in tokens.values())
    if not isinstance(tells, bool) or not pairs:
        raise Rejected(where, "wants body: a boolean, tokens: by provider [policy, place]")
    return Explanations(tells, {name: (one[0], one[1]) for name, one in tokens.items()})


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and list(map(type, value)) == [str, str]


def _network_filter(
    message: listener_components_pb2.FilterChain, path: str, decoders: FilterDecoders
) -> HttpConnectionManager | TcpProxy:
    """The last network filter, which ends the chain: HTTP or plain TCP."""
    if not message.filters:
        raise Rejected(path, f"a filter chain without a network filter is {UNSUPPORTED}")
    packed, where = message.filters[-1].typed_config, f"{path}[{len(message.filters) - 1}]"
    kind = _NETWORK_FILTERS.get(type_name(packed))
    if kind is None and type_name(packed) in GUARDS:
        raise Rejected(where, "the last filter must be one that ends the chain")
    if kind is None:
        raise unsupported_type(packed, f"{where}.typed_config", (*_NETWORK_FILTERS, *GUARDS))
    inner = unpack(kind, packed, f"{where}.typed_config")
    if isinstance(inner, tcp_proxy_pb2.TcpProxy):
        return tcp_proxy(inner, f"{where}.typed_config")
    return connection_manager(inner, f"{where}.typed_config", decoders)


def _match(message: listener_components_pb2.FilterChainMatch, path: str) -> FilterChainMatch:
    if message.transport_protocol not in _TRANSPORTS:
        why = f"`{message.transport_protocol}` is {UNSUPPORTED} (it knows raw_buffer and tls)"
        raise Rejected(f"{path}.transport_protocol", why)
    for i, name in enumerate(message.server_names):
        if "*" in name and (not name.startswith("*.") or "*" in name[1:]):
            why = f"`{name}`: partial wildcards are not supported in server_names"
            raise Rejected(f"{path}.server_names[{i}]", why)
    return FilterChainMatch(
        destination_port=value_or(message, "destination_port", None),
        prefix_ranges=cidrs(message.prefix_ranges, f"{path}.prefix_ranges"),
        server_names=tuple(name.lower() for name in message.server_names),
        transport_protocol=message.transport_protocol,
        application_protocols=tuple(message.application_protocols),
        source_prefix_ranges=cidrs(message.source_prefix_ranges, f"{path}.source_prefix_ranges"),
        source_ports=tuple(message.source_ports),
    )
