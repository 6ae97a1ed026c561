"""Accepted sockets are Python's, but for what they say of themselves."""

from __future__ import annotations

import enum
import socket
from contextlib import closing

import pytest

from proxy.listen.accepted import Accepted
from proxy.listen.accepting import accept


def test_what_is_accepted_tells_of_itself_in_numbers() -> None:
    with Accepted(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        client = socket.create_connection(listening.getsockname())
        sock, remote = accept(listening)
        with client, closing(sock):
            assert remote == client.getsockname()
            assert not sock.getblocking()
            assert (sock.family, sock.type) == (client.family, client.type)
            assert not isinstance(sock.family, enum.Enum) and not isinstance(sock.type, enum.Enum)
            client.sendall(b"x")
            assert sock.recv(1) == b"x"


def test_nobody_there_is_told_as_by_python() -> None:
    with Accepted(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            accept(listening)
