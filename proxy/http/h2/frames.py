"""Frames on the wire (RFC 9113, sections 4 and 6): their numbers, and how each is written."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
METADATA = 0x4D  # Envoy's own

END_STREAM = 0x1  # DATA, HEADERS
ACK = 0x1  # SETTINGS, PING
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6
ENABLE_CONNECT_PROTOCOL = 0x8  # RFC 8441

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD_BYTES = 9
DEFAULT_WINDOW = 65535
MAX_WINDOW = 2**31 - 1
MIN_FRAME_BYTES = 16384  # of what SETTINGS_MAX_FRAME_SIZE may say
MAX_FRAME_BYTES = 2**24 - 1
LAST_STREAM_ID = 2**31 - 1

# A frame's head: length and type in one number, flags, stream.
_HEAD = Struct(">IBI")
pack_head = _HEAD.pack
unpack_head = _HEAD.unpack_from
_SETTING = Struct(">HI")
_WORD_FRAME = Struct(">IBII")
_GOAWAY_FRAME = Struct(">IBIII")


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return pack_head(len(payload) << 8 | kind, flags, stream_id) + payload


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(*value) for value in values]))


SETTINGS_ACK = frame(SETTINGS, ACK, 0)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """(identifier, value) pairs; the length is a multiple of six."""
    return list(_SETTING.iter_unpack(payload))


def window_update(stream_id: int, increment: int) -> bytes:
    return _WORD_FRAME.pack(4 << 8 | WINDOW_UPDATE, 0, stream_id, increment)


def rst_stream(stream_id: int, code: int) -> bytes:
    return _WORD_FRAME.pack(4 << 8 | RST_STREAM, 0, stream_id, code)


def goaway(last_stream_id: int, code: int, debug: bytes) -> bytes:
    return _GOAWAY_FRAME.pack(8 + len(debug) << 8 | GOAWAY, 0, 0, last_stream_id, code) + debug


def header_frames(stream_id: int, block: bytes, end: bool, frame_bytes: int) -> bytes:
    """A header block in HEADERS and as many CONTINUATIONs as it needs; end: of the stream."""
    size = len(block)
    if size <= frame_bytes:
        flags = END_HEADERS | END_STREAM if end else END_HEADERS
        return pack_head(size << 8 | HEADERS, flags, stream_id) + block
    pieces = [frame(HEADERS, END_STREAM if end else 0, stream_id, block[:frame_bytes])]
    for at in range(frame_bytes, size, frame_bytes):
        flags = END_HEADERS if at + frame_bytes >= size else 0
        pieces.append(frame(CONTINUATION, flags, stream_id, block[at : at + frame_bytes]))
    return b"".join(pieces)
