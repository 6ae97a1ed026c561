"""How far a change has come: which of the proxies it concerns, and who of these has taken it.

since = clock()
...the change is made and published...
rollout = Rollout(service.connections, since)
rollout.progress()      # again and again, until it is over
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.xds.service import Connection
from protos.frozen import frozen


@frozen
class Progress:
    """concerned: proxies that were sent something. refused: node id and why, of those that took
    not all of it. over: nobody is waited for any more."""

    concerned: int
    live: int
    refused: tuple[tuple[str, str], ...]
    over: bool


class Rollout:
    """Of the proxies that are connected now. One that leaves is waited for no longer: whatever
    comes back gets what is in force then."""

    __slots__ = ("_since", "_watched")

    def __init__(self, connections: Iterable[Connection], since: float) -> None:
        """since: Unix seconds; what was sent before then is of other changes."""
        self._watched = tuple(connections)
        self._since = since

    def progress(self) -> Progress:
        here = [one for one in self._watched if one.open]
        sent = [one for one in here if one.last_push_at >= self._since]
        refused = {one.node.id: why for one in sent if (why := _refusal(one))}
        live = sum(one.machine.synced and one.node.id not in refused for one in sent)
        looked = not any(one.due for one in here)
        return Progress(
            concerned=len(sent),
            live=live,
            refused=tuple(sorted(refused.items())),
            over=looked and live + len(refused) >= len(sent),
        )


def _refusal(connection: Connection) -> str:
    """What the proxy says of the first resource that it refused."""
    for held in connection.machine.subscriptions.values():
        for name, why in held.rejected.items():
            return f"{name}: {why}" if name else why
    return ""
