"""gRPC's messages in the bytes of DATA frames: a flag, four bytes of length, the message.

Whatever the cut of the frames. Compressed ones are not read: 64 KB of a stranger's could become
64 MB, which is a second of everybody's time.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from controlplane.rpc.codes import INTERNAL, RESOURCE_EXHAUSTED, CallRefused

PREFIX_BYTES: Final = 5
IDENTITY: Final = b"identity"
_pack = Struct(">BI").pack


def prefix(length: int) -> bytes:
    """Of a message of so many bytes."""
    return _pack(0, length)


class TooLarge(CallRefused):
    """A message is longer than its sender may send; what came of it is kept."""


class Reader:
    """One stream's. max_bytes: the longest message; may be raised."""

    __slots__ = ("_buffer", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._buffer = bytearray()
        self.max_bytes = max_bytes

    @property
    def partial_bytes(self) -> int:
        """Of a message that is not whole yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now. Raises CallRefused; after TooLarge, with a higher bound,
        it may be asked again."""
        buffer = self._buffer
        if not buffer and len(data) >= PREFIX_BYTES and not data[0]:
            end = PREFIX_BYTES + int.from_bytes(data[1:PREFIX_BYTES], "big")
            if end == len(data) and len(data) - PREFIX_BYTES <= self.max_bytes:
                return [data[PREFIX_BYTES:]]  # mostly a frame is one message
        buffer += data
        whole: list[bytes] = []
        at = 0
        while len(buffer) - at >= PREFIX_BYTES:
            start = at + PREFIX_BYTES
            length = int.from_bytes(buffer[at + 1 : start], "big")
            self._check(buffer[at], length)
            if len(buffer) < start + length:
                break
            whole.append(bytes(buffer[start : start + length]))
            at = start + length
        del buffer[:at]
        return whole

    def _check(self, flag: int, length: int) -> None:
        if flag:
            # "Compression" of grpc.io: a set flag without an encoding is INTERNAL.
            reason = "a message is compressed, and grpc-encoding does not say how"
            raise CallRefused(INTERNAL, reason)
        if length > self.max_bytes:
            reason = f"a message of {length} bytes: the most is {self.max_bytes}"
            raise TooLarge(RESOURCE_EXHAUSTED, reason)
