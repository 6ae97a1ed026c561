"""What the proxies have told of what they hold, as long as they are connected. In memory: a control
plane that has started anew is told again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from certs.spiffe import SpiffeId
from controlplane.doctor.findings import Life
from controlplane.rotation.roster import ProxyKey, key_of
from controlplane.xds.service import Connection
from protos.frozen import frozen

MAX_CERTIFICATES = 256
"""Of one proxy."""

HeldKind = Literal["identity", "certificate", "trust"]


@frozen
class Held:
    """One certificate in a proxy. secret: its SDS name, or whose own it is. serial, sha256: hex."""

    kind: HeldKind
    secret: str
    source: str
    serial: str
    sha256: str
    issuer: str
    name: str
    life: Life
    used_by: tuple[str, ...]


@frozen
class Report:
    """received_at: our clock; ahead_s: by how much the proxy's was ahead of it, less what the
    message has taken on its way."""

    received_at: float
    ahead_s: float
    held: tuple[Held, ...]


class Reports:
    """connected: open streams by proxy."""

    __slots__ = ("_connected", "_reports")

    def __init__(self, connected: Callable[[], Mapping[ProxyKey, Connection]]) -> None:
        self._connected = connected
        self._reports: dict[ProxyKey, Report] = {}

    def take(self, node_id: str, identity: SpiffeId, report: Report) -> str:
        """Keeps it; '' or why not: nobody speaks for another's node."""
        key = node_id, str(identity)
        if key not in self._connected():
            return f"{identity} has no discovery stream as node {node_id}"
        self._reports[key] = report
        return ""

    def of(self, connection: Connection) -> Report | None:
        return self._reports.get(key_of(connection))

    def forget_absent(self) -> None:
        """Who is gone has nothing to say."""
        here = self._connected()
        self._reports = {key: one for key, one in self._reports.items() if key in here}
