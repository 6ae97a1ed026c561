"""ClientHellos of real clients, cut into pieces and records, and garbage."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.client_hello import MAX_CLIENT_HELLO_BYTES, ClientHello, parse


def python_hello(
    server_name: str | None = "www.Example.com", alpn: tuple[str, ...] = ("h2", "http/1.1")
) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.set_alpn_protocols(list(alpn))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HELLO = python_hello()
PARSED = ClientHello("www.example.com", ("h2", "http/1.1"), (0x0304, 0x0303))


def records(hello: bytes, size_bytes: int) -> bytes:
    """The same handshake message in records of at most `size_bytes`."""
    message = hello[5:]
    parts = [message[at : at + size_bytes] for at in range(0, len(message), size_bytes)]
    return b"".join(hello[:3] + len(part).to_bytes(2, "big") + part for part in parts)


def test_pythons_hello() -> None:
    assert parse(HELLO) == PARSED
    assert parse(HELLO + b"early data") == PARSED


def test_without_server_name() -> None:
    assert parse(python_hello(None, ())) == ClientHello("", (), (0x0304, 0x0303))


@pytest.mark.parametrize("size_bytes", [1, 3, 4, 5, 100])
def test_in_several_records(size_bytes: int) -> None:
    assert parse(records(HELLO, size_bytes)) == PARSED


def test_every_beginning_needs_more() -> None:
    for cut in range(len(HELLO)):
        assert parse(HELLO[:cut]) == "need_more", cut
    split = records(HELLO, 7)
    for cut in range(len(split)):
        assert parse(split[:cut]) == "need_more", cut


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command here")
@pytest.mark.parametrize(("version", "versions"), [("-tls1_3", (0x0304,)), ("-tls1_2", (0x0303,))])
def test_openssls_hello(version: str, versions: tuple[int, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        command = ["openssl", "s_client", "-connect", address, "-alpn", "istio", version]
        command += ["-servername", "outbound_.80_._.shop"]
        client = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        accepted, _ = server.accept()
        with accepted:
            found = parse(accepted.recv(65536))
        client.wait()
    assert found == ClientHello("outbound_.80_._.shop", ("istio",), versions)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00",
        b"\x16\x02\x00",
        b"\x16\x03\x01\x00\x00",  # a record must not be empty
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",  # a ServerHello
        b"\x15\x03\x01\x00\x02\x02\x28",  # an alert
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",  # an empty ClientHello
    ],
)
def test_not_tls(data: bytes) -> None:
    assert parse(data) == "not_tls"


def test_too_large() -> None:
    size = (MAX_CLIENT_HELLO_BYTES + 1).to_bytes(3, "big")
    assert parse(b"\x16\x03\x01\x40\x00\x01" + size) == "too_large"


def test_tiny_records_cannot_fill_memory() -> None:
    message = b"\x01\x00\x40\x00" + bytes(16 * 1024 - 1)
    flood = b"".join(b"\x16\x03\x01\x00\x01" + message[i : i + 1] for i in range(len(message)))
    assert parse(flood) == "too_large"


@given(st.binary(max_size=400))
def test_garbage_never_raises(data: bytes) -> None:
    parse(data)
    parse(b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc" + data)


@given(st.integers(0, len(HELLO) - 1), st.binary(min_size=1, max_size=8))
def test_a_damaged_hello_never_raises(at: int, damage: bytes) -> None:
    parse(HELLO[:at] + damage + HELLO[at + len(damage) :])
