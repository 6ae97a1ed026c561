"""A call on its way through the listeners and routes that were emitted for a proxy, as Envoy would
take it: which listener, filter chain, virtual host and cluster it meets."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from envoy.config.listener.v3.listener_components_pb2 import (
    FilterChain,
    FilterChainMatch,
    ListenerFilterChainMatchPredicate,
)
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3 import route_components_pb2 as parts
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from controlplane.snapshot import Draft

Document = dict[str, Any]
_TLS = "envoy.filters.listener.tls_inspector"
_HTTP = "envoy.filters.listener.http_inspector"
_SOMEWHERE = "1.3.3.7"
_MUTUAL_ALPN = {"http": "istio-http/1.1", "http2": "istio-h2", "tcp": "istio"}
_TLS_ALPN = {"http": "http/1.1", "http2": "h2"}
_SEEN = {"http": "http/1.1", "http2": "h2c"}


@dataclass(slots=True)
class Met:
    """What a call met on its way, as far as it got."""

    ListenerMatched: str = ""
    FilterChainMatched: str = ""
    RouteConfigMatched: str = ""
    RouteMatched: str = ""
    VirtualHostMatched: str = ""
    ClusterMatched: str = ""
    Error: str = ""


class Stopped(Exception):
    """The call goes no further; the text is Istio's for why."""


@dataclass(slots=True)
class Call:
    """tls: plaintext, tls or mtls. alpn: what TLS says, or what looking at the bytes would."""

    address: str
    port: int
    protocol: str
    tls: str
    alpn: str
    sni: str
    host: str
    path: str
    mode: str

    @classmethod
    def of(cls, written: Document, mode: str) -> Call:
        protocol, tls = written.get("Protocol") or "", written.get("TLS") or "plaintext"
        host = written.get("HostHeader") or ""
        alpns = {"mtls": _MUTUAL_ALPN, "tls": _TLS_ALPN}.get(tls, {})
        return cls(
            written.get("Address") or _SOMEWHERE,
            written["Port"],
            protocol,
            tls,
            written.get("Alpn") or alpns.get(protocol, ""),
            written.get("Sni") or (host if tls == "tls" else ""),
            host,
            written.get("Path") or "/",
            written.get("CallMode") or mode,
        )


def met(draft: Draft, call: Call) -> Met:
    found = Met()
    try:
        _follow(draft, call, found)
    except Stopped as stopped:
        found.Error = str(stopped)
    return found


def _follow(draft: Draft, call: Call, found: Met) -> None:
    listener = _listener(draft.listeners, call)
    if listener is None:
        raise Stopped("no listener matched")
    found.ListenerMatched = listener.name
    filters = {
        one.name
        for one in listener.listener_filters
        if not one.HasField("filter_disabled") or not _is_off(one.filter_disabled, call.port)
    }
    if call.mode == "gateway":
        filters.add(_TLS)
    alpn = call.alpn if _TLS in filters else ""
    if _HTTP in filters and call.tls == "plaintext":
        alpn = _SEEN.get(call.protocol, alpn)
    chain = _chain(listener, call, alpn, _TLS in filters)
    found.FilterChainMatched = chain.name
    if chain.HasField("transport_socket"):
        if call.tls == "plaintext":
            raise Stopped("invalid TLS")
        if call.mode != "gateway" and _asks_for_certificate(chain) != (call.tls == "mtls"):
            raise Stopped("invalid mTLS")
    for one in chain.filters:
        manager, relay = hcm_pb2.HttpConnectionManager(), TcpProxy()
        if one.typed_config.Unpack(manager):
            if call.tls != "plaintext" and not chain.HasField("transport_socket"):
                raise Stopped("protocol error")
            if call.protocol not in ("http", "http2") and call.mode != "gateway":
                raise Stopped("protocol error")
            _over_http(found, _table(draft, manager, found), call)
        elif one.typed_config.Unpack(relay):
            found.ClusterMatched = relay.cluster


# --------------------------------------------------------------------------- listeners


def _listener(listeners: tuple[Listener, ...], call: Call) -> Listener | None:
    places = {(_address(one), _port(one)): one for one in reversed(listeners)}
    if call.mode == "gateway":
        return next((one for one in listeners if _port(one) == call.port), None)
    if call.mode == "inbound":
        return next((one for one in listeners if one.name == "virtualInbound"), None)
    for address in (call.address, "0.0.0.0", "::"):
        if (address, call.port) in places:
            return places[address, call.port]
    return next((one for one in listeners if one.name == "virtualOutbound"), None)


def _address(listener: Listener) -> str:
    return listener.address.socket_address.address


def _port(listener: Listener) -> int:
    return listener.address.socket_address.port_value


def _is_off(predicate: ListenerFilterChainMatchPredicate, port: int) -> bool:
    kind = predicate.WhichOneof("rule")
    if kind == "or_match":
        return any(_is_off(one, port) for one in predicate.or_match.rules)
    if kind == "not_match":
        return not _is_off(predicate.not_match, port)
    return predicate.destination_port_range.start <= port < predicate.destination_port_range.end


def _chain(listener: Listener, call: Call, alpn: str, looks: bool) -> FilterChain:
    """Envoy's sieve: what asks for a criterion and has it goes before what does not ask."""
    transport = ("raw_buffer" if call.tls == "plaintext" else "tls") if looks else "raw_buffer"
    chains = list(listener.filter_chains)
    chains = _sieve(
        chains,
        lambda m: m.HasField("destination_port"),
        lambda m: m.destination_port.value == call.port,
    )
    chains = _closest(chains, call.address)
    chains = _by_name(chains, call.sni.lower())
    chains = _sieve(
        chains, lambda m: bool(m.transport_protocol), lambda m: m.transport_protocol == transport
    )
    chains = _sieve(
        chains, lambda m: bool(m.application_protocols), lambda m: alpn in m.application_protocols
    )
    if len(chains) > 1:
        raise Stopped("multiple filter chains matched")
    if chains:
        return chains[0]
    if not listener.HasField("default_filter_chain"):
        raise Stopped("no filter chains matched")
    return listener.default_filter_chain


def _sieve(
    chains: list[FilterChain],
    asks: Callable[[FilterChainMatch], bool],
    has: Callable[[FilterChainMatch], bool],
) -> list[FilterChain]:
    asking = [one for one in chains if asks(one.filter_chain_match)]
    found = [one for one in asking if has(one.filter_chain_match)]
    return found or [one for one in chains if not asks(one.filter_chain_match)]


def _closest(chains: list[FilterChain], address: str) -> list[FilterChain]:
    """By the longest range that has the address."""
    place = ipaddress.ip_address(address)
    lengths: dict[int, list[FilterChain]] = {}
    for chain in chains:
        ranges = chain.filter_chain_match.prefix_ranges
        if not ranges:
            lengths.setdefault(-1, []).append(chain)
        for one in ranges:
            network = ipaddress.ip_network(f"{one.address_prefix}/{one.prefix_len.value}")
            if place in network:
                lengths.setdefault(network.prefixlen, []).append(chain)
    return lengths[max(lengths)] if lengths else []


def _by_name(chains: list[FilterChain], name: str) -> list[FilterChain]:
    """By the server name: whole, then wildcards, then any."""
    for wanted in (name, *wildcards(name)) if name else ():
        found = [one for one in chains if wanted in one.filter_chain_match.server_names]
        if found:
            return found
    return [one for one in chains if not one.filter_chain_match.server_names]


def wildcards(name: str) -> Iterator[str]:
    labels = name.split(".")
    yield from ("*." + ".".join(labels[index:]) for index in range(1, len(labels)))


def _asks_for_certificate(chain: FilterChain) -> bool:
    context = DownstreamTlsContext()
    assert chain.transport_socket.typed_config.Unpack(context)
    return context.require_client_certificate.value


# --------------------------------------------------------------------------- routes


def _table(draft: Draft, manager: hcm_pb2.HttpConnectionManager, found: Met) -> RouteConfiguration:
    if manager.HasField("route_config"):
        return manager.route_config
    found.RouteConfigMatched = manager.rds.route_config_name
    return {table.name: table for table in draft.routes}[manager.rds.route_config_name]


def _over_http(found: Met, table: RouteConfiguration, call: Call) -> None:
    host = _virtual_host(table, call.host.partition(":")[0])
    if host is None:
        raise Stopped("no virtual host matched")
    found.VirtualHostMatched = host.name
    if host.require_tls == parts.VirtualHost.ALL and call.tls == "plaintext":
        raise Stopped("tls required, sending 301")
    route = next((one for one in host.routes if _takes(one.match, call.path)), None)
    if route is None:
        raise Stopped("no route matched")
    found.RouteMatched = route.name
    found.ClusterMatched = route.route.cluster


def _virtual_host(table: RouteConfiguration, host: str) -> parts.VirtualHost | None:
    for one in (host, *wildcards(host), "*"):
        for virtual_host in table.virtual_hosts:
            if one in virtual_host.domains:
                return virtual_host
    return None


def _takes(match: parts.RouteMatch, path: str) -> bool:
    kind = match.WhichOneof("path_specifier")
    if kind == "path":
        return path == match.path
    if kind == "safe_regex":
        return re.fullmatch(match.safe_regex.regex, path) is not None
    if kind == "path_separated_prefix":
        whole = match.path_separated_prefix
        return path == whole or path.startswith(whole + "/")
    return kind == "prefix" and path.startswith(match.prefix)
