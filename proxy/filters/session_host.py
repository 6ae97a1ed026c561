"""How the host of a session is written, so that clients bring it again: Envoy's own words, so that
its proxies and ours take each other's sessions.

A cookie holds the base64 of the message `envoy.Cookie` {string address = 1; uint64 expires = 2}
(Unix seconds, 0 is never), or of the bare address, as older proxies have written it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode

_ADDRESS, _EXPIRES = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10


def decoded(text: bytes) -> bytes:
    """b'' for what is no base64."""
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return b""


def cookie_of(address: str, expires: int) -> bytes:
    """expires: Unix seconds, 0 is never."""
    name = address.encode()
    message = b"\x0a" + _written(len(name)) + name
    return b64encode(message + (b"\x10" + _written(expires) if expires else b""))


def host_in_cookie(text: bytes, unix_now: float) -> str:
    """The address; '' if there is none, or if it holds no longer."""
    data = decoded(text)
    fields = _fields(data)
    if fields is None:
        return data.decode("latin-1")
    address, expires = fields
    return "" if expires and int(unix_now) > expires else address


def _written(number: int) -> bytes:
    """A varint (Protocol Buffers encoding)."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _fields(data: bytes) -> tuple[str, int] | None:
    """address and expires; None for what is no such message. Other fields are passed over."""
    address, expires, at = "", 0, 0
    try:
        while at < len(data):
            key, at = _varint(data, at)
            number, kind = key >> 3, key & 7
            if kind == _BYTES:
                size, at = _varint(data, at)
                if number == _ADDRESS:
                    address = _exactly(data, at, size).decode()
            elif kind == _VARINT:
                value, after = _varint(data, at)
                expires = value if number == _EXPIRES else expires
                size = after - at
            else:
                size = {_FIXED64: 8, _FIXED32: 4}[kind]
            if not number:
                return None
            _exactly(data, at, size)
            at += size
    except (LookupError, ValueError):
        return None
    return address, expires


def _exactly(data: bytes, at: int, size: int) -> bytes:
    """ValueError when there is less."""
    found = data[at : at + size]
    if len(found) != size:
        raise ValueError("cut short")
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number and where it ends; IndexError, ValueError for what is none."""
    number = 0
    for i in range(_MOST_VARINT_BYTES):
        byte = data[at + i]
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, at + i + 1
    raise ValueError("too long")
