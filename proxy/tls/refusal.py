"""Why a peer's certificate was refused, as long as the handshake goes on. Knows no socket."""

from __future__ import annotations


class Refusal:
    """Why the peer's certificate was refused; filled in within the handshake. chain: what it has
    shown beside its own certificate, where the validator asks for that."""

    __slots__ = ("chain", "statistic", "why")

    def __init__(self) -> None:
        self.statistic = ""
        self.why = ""
        self.chain: list[bytes] = []

    def say(self, statistic: str, why: str) -> None:
        """The first word counts: what OpenSSL finds afterwards follows from it."""
        if not self.why:
            self.statistic = statistic
            self.why = why
