"""Just enough DER (ITU-T X.690) to put a certificate together from ready parts.

Only what RFC 5280 needs of it, and nothing of foreign bytes: those are the library's to read.
"""

from __future__ import annotations

from datetime import UTC, datetime

BOOLEAN_TRUE = b"\x01\x01\xff"
_GENERALIZED_TIME_FROM = 2050


def tlv(tag: int, content: bytes) -> bytes:
    """One element: tag octet, definite length (8.1.3), content."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, b"".join(parts))


def octet_string(content: bytes) -> bytes:
    return tlv(0x04, content)


def bit_string(content: bytes, unused_bits: int = 0) -> bytes:
    return tlv(0x03, bytes((unused_bits,)) + content)


def object_id(dotted: str) -> bytes:
    """8.19: the first two numbers share an octet, all are in base 128, high bit on but the last."""
    first, second, *others = map(int, dotted.split("."))
    return tlv(0x06, b"".join(_base128(number) for number in (40 * first + second, *others)))


def _base128(number: int) -> bytes:
    octets = [number & 0x7F]
    while number := number >> 7:
        octets.append(0x80 | number & 0x7F)
    return bytes(reversed(octets))


def time(unix_s: float) -> bytes:
    """RFC 5280 section 4.1.2.5: UTCTime through 2049, GeneralizedTime from then on."""
    moment = datetime.fromtimestamp(int(unix_s), UTC)
    day = (moment.year, moment.month, moment.day)
    text = b"%04d%02d%02d%02d%02d%02dZ" % (*day, moment.hour, moment.minute, moment.second)
    if moment.year < _GENERALIZED_TIME_FROM:
        return tlv(0x17, text[2:])
    return tlv(0x18, text)


def content_bounds(data: bytes, at: int = 0) -> tuple[int, int]:
    """Where the content of the element at `at` begins and ends. The bytes must be sound DER."""
    size, start = data[at + 1], at + 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[at + 2 : start], "big")
    return start, start + size
