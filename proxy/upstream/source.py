"""Connections to hosts that come from where the client's did (Envoy's original_src), so that the
application sees its client, not the proxy.

Needs CAP_NET_ADMIN, and rules of the kernel that bring the answers back to us. IP_TRANSPARENT lets
a socket be bound to an address that is not the machine's (linux/in.h, linux/in6.h).
"""

from __future__ import annotations

import socket

from proxy.config.model import SocketAddress
from proxy.config.model.connecting import OriginalSrc, SocketOption, Sockets
from proxy.connection import ConnectionInfo

STATE = "envoy.filters.listener.original_src"
"""Under this name the connection's state has what the listener says of it."""

_IP_TRANSPARENT, _IP_BIND_ADDRESS_NO_PORT = SocketOption(0, 19, 1), SocketOption(0, 24, 1)
_IPV6_TRANSPARENT = SocketOption(41, 75, 1)


def note(info: ConnectionInfo, config: OriginalSrc) -> None:
    """For a connection that a listener with this filter has accepted."""
    state = info.state = info.state if info.state is not None else {}
    state[STATE] = config


def source_of(info: ConnectionInfo | None) -> Sockets | None:
    """How to connect on behalf of this connection; None: as ever."""
    if info is None or info.state is None:
        return None
    config = info.state.get(STATE)
    if not isinstance(config, OriginalSrc):
        return None
    host, port = info.remote
    options = [_IPV6_TRANSPARENT if ":" in host else _IP_TRANSPARENT]
    if not config.bind_port:
        options.append(_IP_BIND_ADDRESS_NO_PORT)
    if config.mark:
        options.append(SocketOption(socket.SOL_SOCKET, socket.SO_MARK, config.mark))
    source = SocketAddress(host, port if config.bind_port else 0)
    return Sockets(source=source, options=tuple(options))


def fits(source: Sockets, address: SocketAddress) -> bool:
    """Whether a host can be reached from there: not by another family of addresses."""
    own = source.source
    return own is not None and not address.path and (":" in own.host) == (":" in address.host)
