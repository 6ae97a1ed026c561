"""What a call needs of the connection that it is on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from controlplane.rpc.heads import Metadata
from controlplane.rpc.turns import Client

if TYPE_CHECKING:
    from controlplane.rpc.call import Call


class Link(Protocol):
    """stuck: the client's socket takes no more for now. held_up: nor is it told any more, as it has
    not read what it was told. client: whose time the calls take. proven: it is known whose it is.
    """

    @property
    def stuck(self) -> bool: ...

    @property
    def held_up(self) -> bool: ...

    @property
    def client(self) -> Client: ...

    @property
    def proven(self) -> bool: ...

    @property
    def now(self) -> float: ...

    def leave(self, call: Call) -> None: ...

    def recount_heard(self, call: Call) -> None:
        """Half of a message has become a whole one."""

    def recount_said(self) -> None:
        """Other bytes than before wait to be read."""

    def knows(self, metadata: Metadata) -> bool:
        """A call's head has credentials that prove somebody."""

    def prove(self, principal: str) -> None:
        """Whose it is."""

    def peer(self) -> str: ...
    def facts(self) -> dict[str, list[bytes]]: ...
