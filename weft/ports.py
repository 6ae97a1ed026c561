"""Free TCP ports on this machine, for processes that must be told their port before they start."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from random import Random

from weft.errors import UserError

# Below Linux's and macOS's ephemeral ranges (32768 and 49152): a port that the kernel hands to an
# outgoing connection between our look and the process's bind would be lost.
LOWEST, HIGHEST = 20_000, 31_999


class PortBook:
    """Hands out ports that are free now and were not handed out before."""

    __slots__ = ("_random", "_taken", "host")

    def __init__(self, random: Random, host: str = "127.0.0.1") -> None:
        self._random = random
        self._taken: set[int] = set()
        self.host = host

    def take(self) -> int:
        """A free port. UserError when two hundred tries found none."""
        for _ in range(200):
            port = self._random.randint(LOWEST, HIGHEST)
            if port not in self._taken and is_free(port, self.host):
                self._taken.add(port)
                return port
        raise UserError(f"found no free port on {self.host} between {LOWEST} and {HIGHEST}")

    def first_free(self, wanted: Iterable[int]) -> int | None:
        """The first of `wanted` that is free, now taken; None when none is."""
        for port in wanted:
            if port not in self._taken and is_free(port, self.host):
                self._taken.add(port)
                return port
        return None


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen at host:port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a former server in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
        return True
