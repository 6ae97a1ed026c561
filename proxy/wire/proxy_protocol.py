"""The PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt): who is behind a connection.

Sans-io: `parse` looks at the first bytes, `encode` makes them. Knows no connection.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Literal

SIGNATURE_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_PREFIX_V1 = b"PROXY "
_MAX_V1_BYTES = 108  # section 2.1: 107 and a terminating zero are enough for everybody
_HEAD_V2_BYTES = 16
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESS_BYTES = {_TCP4: 12, _TCP6: 36}

Address = tuple[str, int]
Tlv = tuple[int, bytes]


class BadProxyHeader(ValueError):
    """It begins as a PROXY header and is none. version: 1 or 2."""

    def __init__(self, version: int, why: str) -> None:
        super().__init__(why)
        self.version = version


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """length: of the whole header in bytes. source, destination: None where the connection's own
    addresses hold (UNKNOWN, LOCAL)."""

    version: int
    length: int
    source: Address | None = None
    destination: Address | None = None
    tlvs: tuple[Tlv, ...] = ()


def parse(data: bytes) -> ProxyHeader | Literal["need_more", "none"]:
    """What stands at the beginning of a connection; none: something else."""
    if data.startswith(SIGNATURE_V2):
        return _parse_v2(data)
    if data.startswith(_PREFIX_V1):
        return _parse_v1(data)
    if SIGNATURE_V2.startswith(data) or _PREFIX_V1.startswith(data):
        return "need_more"
    return "none"


# --------------------------------------------------------------------------- version 1


def _parse_v1(data: bytes) -> ProxyHeader | Literal["need_more"]:
    end = data.find(b"\r\n", 0, _MAX_V1_BYTES)
    if end < 0:
        if len(data) >= _MAX_V1_BYTES:
            raise BadProxyHeader(1, "the line is too long")
        return "need_more"
    words = data[:end].decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return ProxyHeader(1, end + 2)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise BadProxyHeader(1, "not a protocol and two addresses with ports")
    family = 4 if words[1] == "TCP4" else 6
    source = _address_v1(words[2], words[4], family)
    destination = _address_v1(words[3], words[5], family)
    return ProxyHeader(1, end + 2, source, destination)


def _address_v1(text: str, port: str, family: int) -> Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise BadProxyHeader(1, f"`{text}` is no address") from None
    if address.version != family:
        raise BadProxyHeader(1, f"`{text}` is of another family")
    if not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise BadProxyHeader(1, f"`{port}` is no port")
    return str(address), int(port)


# --------------------------------------------------------------------------- version 2


def _parse_v2(data: bytes) -> ProxyHeader | Literal["need_more"]:
    if len(data) < _HEAD_V2_BYTES:
        return "need_more"
    command, family, size = struct.unpack_from("!BBH", data, len(SIGNATURE_V2))
    length = _HEAD_V2_BYTES + size
    if command not in (_LOCAL, _PROXY):
        raise BadProxyHeader(2, f"{command:#x} is no version and command")
    if command == _LOCAL:  # whatever addresses come with it are to be skipped (section 2.2)
        return ProxyHeader(2, length) if len(data) >= length else "need_more"
    if family not in _ADDRESS_BYTES:
        raise BadProxyHeader(2, f"{family:#x} is no family and protocol that we know")
    if size < _ADDRESS_BYTES[family]:
        raise BadProxyHeader(2, "it is too short for its addresses")
    if len(data) < length:
        return "need_more"
    start = _HEAD_V2_BYTES
    width = 4 if family == _TCP4 else 16
    source, destination = data[start : start + width], data[start + width : start + 2 * width]
    ports = struct.unpack_from("!HH", data, start + 2 * width)
    tlvs = _parse_tlvs(data[start + _ADDRESS_BYTES[family] : length])
    return ProxyHeader(2, length, (_text(source), ports[0]), (_text(destination), ports[1]), tlvs)


def _text(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


def _parse_tlvs(data: bytes) -> tuple[Tlv, ...]:
    found = []
    at = 0
    while at < len(data):
        if len(data) - at < 3:
            raise BadProxyHeader(2, "a TLV is cut off")
        kind, size = struct.unpack_from("!BH", data, at)
        if len(data) - at - 3 < size:
            raise BadProxyHeader(2, "a TLV is cut off")
        found.append((kind, data[at + 3 : at + 3 + size]))
        at += 3 + size
    return tuple(found)


# --------------------------------------------------------------------------- making them


def encode(
    version: int, source: Address | None, destination: Address | None, tlvs: tuple[Tlv, ...] = ()
) -> bytes:
    """source, destination: None says that the connection is for nobody else (a health check).
    tlvs: version 2 only."""
    pair = _pair(source, destination)
    if version == 1:
        return _encode_v1(source, destination) if pair else b"PROXY UNKNOWN\r\n"
    extra = b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in tlvs)
    if pair is None:
        return SIGNATURE_V2 + struct.pack("!BBH", _LOCAL, 0, 0)
    addresses, family = pair
    assert source is not None and destination is not None
    body = addresses + struct.pack("!HH", source[1], destination[1]) + extra
    return SIGNATURE_V2 + struct.pack("!BBH", _PROXY, family, len(body)) + body


def _encode_v1(source: Address | None, destination: Address | None) -> bytes:
    assert source is not None and destination is not None
    family = "TCP6" if ":" in source[0] else "TCP4"
    words = (family, source[0], destination[0], str(source[1]), str(destination[1]))
    return f"PROXY {' '.join(words)}\r\n".encode()


def _pair(source: Address | None, destination: Address | None) -> tuple[bytes, int] | None:
    """Both addresses packed, with family and protocol; None if they are no two of one family."""
    if source is None or destination is None:
        return None
    try:
        first, second = ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0])
    except ValueError:
        return None
    if first.version != second.version:
        return None
    return first.packed + second.packed, _TCP4 if first.version == 4 else _TCP6
