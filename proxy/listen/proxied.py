"""The listener filter `proxy_protocol`: takes the PROXY header off a connection and believes it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

from proxy.config.model.connecting import ProxyProtocolIn
from proxy.connection import ConnectionInfo
from proxy.listen.sniff import peek_until
from proxy.wire.proxy_protocol import BadProxyHeader, ProxyHeader, parse

log = logging.getLogger("weft.listen")
STATE = "envoy.network.proxy_protocol_options"
METADATA = "metadata"


async def read_proxy_header(
    sock: socket.socket, info: ConnectionInfo, config: ProxyProtocolIn, count: Callable[[str], None]
) -> bool:
    """False when the connection is not to be served. count: adds one to a statistic."""
    try:
        data = await peek_until(sock, lambda data: parse(data) != "need_more")
        found = "need_more" if data is None else parse(data)
    except BadProxyHeader as error:
        log.info("PROXY header of %s:%d: %s", *info.remote, error)
        count(f"versions.v{error.version}.error")
        return False
    if found == "need_more":
        return False  # it has ended, or is too long for everybody
    if not isinstance(found, ProxyHeader):
        count("not_found_allowed" if config.allow_without else "not_found_disallowed")
        return config.allow_without
    if found.version in config.disallowed:
        count(f"versions.v{found.version}.disallowed")
        return False
    count(f"versions.v{found.version}.found")
    _take(sock, found.length)
    _believe(info, found, config)
    return True


def _take(sock: socket.socket, length: int) -> None:
    """They were peeked at, so they are there."""
    while length:
        length -= len(sock.recv(length))


def _believe(info: ConnectionInfo, found: ProxyHeader, config: ProxyProtocolIn) -> None:
    if found.source is not None and found.destination is not None:
        info.remote, info.local = found.source, found.destination
    state = info.state = info.state if info.state is not None else {}
    values = dict(found.tlvs)
    for rule in config.rules:
        if rule.type in values:
            metadata = state.setdefault(METADATA, {}).setdefault(rule.namespace, {})
            metadata[rule.key] = values[rule.type].decode("utf-8", "replace")
    kept = tuple(
        (kind, value) for kind, value in found.tlvs if config.kept is None or kind in config.kept
    )
    state[STATE] = ProxyHeader(found.version, found.length, found.source, found.destination, kept)
