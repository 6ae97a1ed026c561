"""Free TCP ports of 127.0.0.1 for programs that can't be told "any port"."""

from __future__ import annotations

import random
import socket
from typing import Self

# Below the range from which the kernel gives ports to outgoing connections (32768 and up): nobody
# takes one by accident between this check and the program's own bind. Nor does `weft up`, which
# other tests run at the same time: its own are from 20000 up.
LOWEST, HIGHEST = 10_000, 19_999


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


class Reservation:
    """`with Reservation() as ports:` gives ports that no other test takes before the end.

    Each is bound and does not listen: connections are refused, and a program that binds with
    SO_REUSEADDR (all of ours, and Envoy) may listen there meanwhile (Linux).
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def port(self) -> int:
        """A port of 127.0.0.1 that nobody uses."""
        while True:
            port = free_port()
            held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                held.bind(("127.0.0.1", port))
            except OSError:
                held.close()
                continue
            self._held.append(held)
            return port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for held in self._held:
            held.close()
