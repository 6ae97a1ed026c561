"""SO_ORIGINAL_DST as the kernel hands it out."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any, cast

import pytest

from proxy.listen.original_dst import original_destination, plain_host


class RedirectedSocket:
    """Answers getsockopt as netfilter does for a connection to `host`:8080."""

    def __init__(self, family: int, name: str, host: str | None) -> None:
        self.family = family
        self._name = name
        self._host = host

    def getsockname(self) -> tuple[Any, ...]:
        return (self._name, 15001)

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert option == 80
        if self._host is None:
            raise OSError(errno.ENOENT, "No such file or directory")
        address = ipaddress.ip_address(self._host)
        port = (8080).to_bytes(2, "big")
        if address.version == 4:
            assert (level, size) == (socket.SOL_IP, 16)
            return socket.AF_INET.to_bytes(2, "little") + port + address.packed + bytes(8)
        assert (level, size) == (41, 28)
        return socket.AF_INET6.to_bytes(2, "little") + port + bytes(4) + address.packed + bytes(4)


@pytest.mark.parametrize(
    ("family", "name", "host", "expected"),
    [
        (socket.AF_INET, "127.0.0.1", "10.0.0.7", ("10.0.0.7", 8080)),
        (socket.AF_INET6, "::1", "fd00::7", ("fd00::7", 8080)),
        # A dual-stack socket: netfilter knows the connection as IPv4.
        (socket.AF_INET6, "::ffff:127.0.0.1", "10.0.0.7", ("10.0.0.7", 8080)),
        (socket.AF_INET, "127.0.0.1", None, None),
        (socket.AF_UNIX, "", "10.0.0.7", None),
    ],
)
def test_original_destination(
    family: int, name: str, host: str | None, expected: tuple[str, int] | None
) -> None:
    sock = cast(socket.socket, RedirectedSocket(family, name, host))
    assert original_destination(sock) == expected


def test_a_direct_connection_has_none_or_its_own_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address), server.accept()[0] as accepted:
            assert original_destination(accepted) in (None, address)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("::ffff:10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("10.0.0.1", "10.0.0.1"), ("", "")],
)
def test_plain_host(host: str, expected: str) -> None:
    assert plain_host(host) == expected
