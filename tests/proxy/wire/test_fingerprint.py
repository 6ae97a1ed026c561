"""JA3 and JA4 of a ClientHello; the real Envoy judges the same in tests/differential."""

from __future__ import annotations

import hashlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.fingerprint import Lists, ja3, ja4, read


def hello(**facts: object) -> bytes:
    """What Python's TLS sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn := facts.get("alpn"):
        context.set_alpn_protocols([str(alpn)])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    name = facts.get("name")
    client = context.wrap_bio(incoming, outgoing, server_hostname=str(name) if name else None)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(one, 16) for one in text.split(","))


def test_the_example_of_ja4s_own_description() -> None:
    lists = Lists(
        0x0303,
        numbers("1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"),
        numbers("001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015"),
        signatures=numbers("0403,0804,0401,0503,0805,0501,0806,0601"),
        versions=(0x0304, 0x0303),
        alpn=b"h2",
    )
    assert ja4(lists) == "t13d1516h2_8daaf6152771_e5627efa2ab1"


def test_the_example_of_ja3s_own_description() -> None:
    lists = Lists(
        769,
        (47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4),
        (0, 10, 11),
        (23, 24, 25),
        (0,),
    )
    assert ja3(lists) == "ada70206e40642a3e4461f35503241d5"
    assert ja3(Lists(769, (4, 5))) == hashlib.md5(b"769,4-5,,,").hexdigest()


def test_what_a_client_sends_is_read() -> None:
    lists = read(hello(alpn="h2", name="a.test"))
    assert lists is not None
    assert (lists.alpn, 0 in lists.extensions, 0x0304 in lists.versions) == (b"h2", True, True)
    assert ja4(lists).startswith(f"t13d{len(lists.ciphers):02}{len(lists.extensions):02}h2_")
    other = read(hello())
    assert other is not None
    assert ja4(other)[3] == "i"
    assert ja4(other)[8:10] == "00"
    again = read(hello(alpn="h2", name="a.test"))
    assert again is not None
    assert (ja3(again), ja4(again)) == (ja3(lists), ja4(lists))


def test_grease_does_not_count() -> None:
    plain = hello(name="a.test")
    lists = read(plain)
    assert lists is not None
    # RFC 8701 in the place of the first cipher: one fewer.
    at = 5 + 4 + 2 + 32 + 1 + plain[43] + 2
    greased = read(plain[:at] + b"\x5a\x5a" + plain[at + 2 :])
    assert greased is not None
    assert greased.ciphers == lists.ciphers[1:]


@pytest.mark.parametrize(
    ("alpn", "ends"),
    [
        (b"h2", "h2"),
        (b"http/1.1", "h1"),
        (b"x", "xx"),
        (b"", "00"),
        (b"-a", "21"),
        (b"\xff-", "fd"),
    ],
)
def test_the_ends_of_a_protocol(alpn: bytes, ends: str) -> None:
    assert ja4(Lists(0x0303, alpn=alpn))[8:10] == ends


def test_nothing_has_no_hash() -> None:
    assert ja4(Lists(0x0302)) == "t11i000000_000000000000_000000000000"


WHOLE = hello(name="a.test")


@given(st.binary(max_size=200), st.integers(0, 600))
def test_garbage_has_no_fingerprint(garbage: bytes, at: int) -> None:
    assert read(garbage) is None
    whole = WHOLE
    spoiled = whole[:at] + garbage + whole[at + len(garbage) :]
    lists = read(spoiled)
    assert lists is None or len(ja3(lists)) == 32
