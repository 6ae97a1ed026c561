"""Free TCP ports of 127.0.0.1 for programs that can't be told "any port"."""

from __future__ import annotations

import random
import socket

# Below the range from which the kernel gives ports to outgoing connections (32768 and up): nobody
# takes one by accident between this check and the program's own bind.
LOWEST, HIGHEST = 15_000, 32_000


def free_port() -> int:
    """A port that nobody listens on now."""
    while True:
        port = random.randint(LOWEST, HIGHEST)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
