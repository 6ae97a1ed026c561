"""PROXY headers: what they say, what is none, and that every cut of one asks for more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.proxy_protocol import (
    SIGNATURE_V2,
    Address,
    BadProxyHeader,
    ProxyHeader,
    encode,
    parse,
)

FOUR = (("10.9.8.7", 1234), ("10.0.0.1", 80))
SIX = (("2001:db8::1", 1234), ("::1", 80))


@pytest.mark.parametrize(
    "line, source, destination",
    [
        ("PROXY TCP4 10.9.8.7 10.0.0.1 1234 80", *FOUR),
        ("PROXY TCP6 2001:DB8::1 ::1 1234 80", *SIX),
        ("PROXY UNKNOWN", None, None),
        ("PROXY UNKNOWN ffff::1 ffff::2 1 2", None, None),
    ],
)
def test_version_1(line: str, source: object, destination: object) -> None:
    data = f"{line}\r\nGET /".encode()
    assert parse(data) == ProxyHeader(1, len(line) + 2, source, destination)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [
        "PROXY TCP4 nonsense 10.0.0.1 1234 80",
        "PROXY TCP4 10.0.0.1 10.0.0.2 99999 80",
        "PROXY TCP4 10.0.0.1 10.0.0.2 -1 80",
        "PROXY TCP4 10.0.0.1 10.0.0.2 80",
        "PROXY TCP4 ::1 ::2 1 2",
        "PROXY TCP6 10.0.0.1 10.0.0.2 1 2",
        "PROXY UDP4 10.0.0.1 10.0.0.2 1 2",
        "PROXY  TCP4 10.0.0.1 10.0.0.2 1 2",
        "PROXY ",
    ],
)
def test_bad_lines(line: str) -> None:
    with pytest.raises(BadProxyHeader) as error:
        parse(f"{line}\r\n".encode())
    assert error.value.version == 1


def test_a_line_has_an_end() -> None:
    with pytest.raises(BadProxyHeader, match="too long"):
        parse(b"PROXY TCP4 " + b"1" * 100)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("pair", [FOUR, SIX])
def test_what_is_encoded_is_read(version: int, pair: tuple[Address, Address]) -> None:
    tlvs = ((0xEA, b"vpc"), (4, b"")) if version == 2 else ()
    data = encode(version, *pair, tlvs)
    assert parse(data + b"rest") == ProxyHeader(version, len(data), *pair, tlvs)
    for cut in range(len(data)):
        assert parse(data[:cut]) == "need_more"


@pytest.mark.parametrize("version", [1, 2])
def test_for_nobody(version: int) -> None:
    found = parse(encode(version, None, None))
    assert isinstance(found, ProxyHeader) and found.source is None
    mixed = parse(encode(version, FOUR[0], SIX[1]))
    assert isinstance(mixed, ProxyHeader) and mixed.source is None


@pytest.mark.parametrize(
    "rest",
    [
        b"\x31\x11\0\x0c",  # version 3
        b"\x22\x11\0\x0c",  # no such command
        b"\x21\x12\0\x0c",  # datagrams
        b"\x21\x00\0\x00",  # nobody knows the family
        b"\x21\x11\0\x0b",  # too short for two addresses
        b"\x21\x11\0\x0e" + b"\0" * 14,  # half a TLV
        b"\x21\x11\0\x0f" + b"\0" * 12 + b"\x01\0\x01",  # a TLV without its value
    ],
)
def test_bad_binaries(rest: bytes) -> None:
    with pytest.raises(BadProxyHeader) as error:
        parse(SIGNATURE_V2 + rest)
    assert error.value.version == 2


def test_local_skips_what_comes_with_it() -> None:
    data = SIGNATURE_V2 + b"\x20\x11\0\x0c" + b"x" * 12
    assert parse(data) == ProxyHeader(2, len(data))


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1", b"\x16\x03\x01", b"PRI * HTTP/2.0", b"\r\n\r\nx"]
)
def test_something_else(data: bytes) -> None:
    assert parse(data) == "none"


@given(st.binary(max_size=200), st.sampled_from([b"", b"PROXY ", SIGNATURE_V2 + b"\x21"]))
def test_any_bytes(data: bytes, before: bytes) -> None:
    try:
        found = parse(before + data)
    except BadProxyHeader:
        return
    if isinstance(found, ProxyHeader):
        assert found.length <= len(before + data)
