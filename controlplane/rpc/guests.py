"""What can be said of a caller before anybody has looked at its call: asked of whoever knows."""

from __future__ import annotations

from typing import Protocol

from controlplane.rpc.heads import Metadata


class Guests(Protocol):
    """Answers at once, by what lies at hand."""

    def principal(self, facts: dict[str, list[bytes]]) -> str:
        """Who has shown this in the handshake; '' for nobody that is known."""

    def knows(self, metadata: Metadata) -> bool:
        """There are credentials in the call's head which prove somebody."""


class Everybody:
    """Where nobody is asked for proof."""

    def principal(self, facts: dict[str, list[bytes]]) -> str:
        return ""

    def knows(self, metadata: Metadata) -> bool:
        return True
