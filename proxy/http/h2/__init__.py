"""HTTP/2 (RFC 9113) and HPACK (RFC 7541), bytes in and calls out: no socket, no clock, no log."""

from proxy.http.h2.client import ClientConnection, ClientSink
from proxy.http.h2.errors import ConnectionFailed, error_name
from proxy.http.h2.frames import PREFACE
from proxy.http.h2.options import Options, PrematureResets
from proxy.http.h2.server import ServerConnection, ServerSink

__all__ = [
    "PREFACE",
    "ClientConnection",
    "ClientSink",
    "ConnectionFailed",
    "Options",
    "PrematureResets",
    "ServerConnection",
    "ServerSink",
    "error_name",
]
