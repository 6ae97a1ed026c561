"""Free TCP ports of 127.0.0.1, from the kernel."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A port that nobody listens on now. Another process may take it: use it at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
