"""gRPC's messages in the bytes of DATA frames: a flag, four bytes of length, the message.

Whatever the cut of the frames. Messages may be compressed (gzip); what they become is bounded like
those that are not.
"""

from __future__ import annotations

import zlib
from struct import Struct
from typing import Final

from controlplane.rpc.codes import INTERNAL, RESOURCE_EXHAUSTED, CallRefused

PREFIX_BYTES: Final = 5
GZIP: Final = b"gzip"
IDENTITY: Final = b"identity"
_GZIP_WINDOW: Final = 31  # zlib's word for "with gzip's head and tail"
_pack = Struct(">BI").pack


def framed(message: bytes) -> bytes:
    return _pack(0, len(message)) + message


class Reader:
    """One stream's. gzip: what `grpc-encoding` says that compressed messages are, if anything."""

    __slots__ = ("_buffer", "_gzip", "_max_bytes")

    def __init__(self, max_bytes: int, gzip: bool) -> None:
        self._buffer = bytearray()
        self._max_bytes = max_bytes
        self._gzip = gzip

    @property
    def partial_bytes(self) -> int:
        """Of a message that is not whole yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now. Raises CallRefused."""
        buffer = self._buffer
        if not buffer and len(data) >= PREFIX_BYTES and not data[0]:
            end = PREFIX_BYTES + int.from_bytes(data[1:PREFIX_BYTES], "big")
            if end == len(data) and end <= self._max_bytes:
                return [data[PREFIX_BYTES:]]  # mostly a frame is one message
        buffer += data
        whole: list[bytes] = []
        at = 0
        while len(buffer) - at >= PREFIX_BYTES:
            start = at + PREFIX_BYTES
            length = int.from_bytes(buffer[at + 1 : start], "big")
            self._check(length)
            if len(buffer) < start + length:
                break
            message = bytes(buffer[start : start + length])
            whole.append(self._plain(buffer[at], message))
            at = start + length
        del buffer[:at]
        return whole

    def _check(self, length: int) -> None:
        if length > self._max_bytes:
            reason = f"a message of {length} bytes: the most is {self._max_bytes}"
            raise CallRefused(RESOURCE_EXHAUSTED, reason)

    def _plain(self, flag: int, message: bytes) -> bytes:
        if not flag:
            return message
        if flag != 1 or not self._gzip:
            # "Compression" of grpc.io: a set flag without an encoding is INTERNAL.
            raise CallRefused(
                INTERNAL, "a message is compressed, and grpc-encoding does not say how"
            )
        unpacker = zlib.decompressobj(_GZIP_WINDOW)
        try:
            plain = unpacker.decompress(message, self._max_bytes + 1)
        except zlib.error as error:
            raise CallRefused(INTERNAL, f"a message is no gzip: {error}") from None
        self._check(len(plain))
        if not unpacker.eof:
            raise CallRefused(INTERNAL, "a compressed message is cut off")
        return plain
