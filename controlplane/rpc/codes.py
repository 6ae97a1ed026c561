"""The numbers of gRPC's status codes that the server itself says (grpc.io, "Status codes")."""

from __future__ import annotations

from typing import Final

OK: Final = 0
CANCELLED: Final = 1
UNKNOWN: Final = 2
DEADLINE_EXCEEDED: Final = 4
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14


class CallRefused(Exception):
    """The call can't go on. code: a number from here; the text is what the client hears."""

    def __init__(self, code: int, details: str) -> None:
        super().__init__(details)
        self.code = code
