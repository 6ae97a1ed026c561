"""What each proxy lacks before a rotation may take its next step.

    needs         a step waits until each proxy ...
    trust         has acknowledged the bundle with both roots
    certificates  shows, or has acknowledged, a certificate of the one that issues now
    distrust      has acknowledged the bundle without the old root

PURE: it reads streams and the roster, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Literal

from certs.x509 import is_issued_by
from controlplane.ca.envoy_secrets import EnvoySecrets
from controlplane.ca.live import LiveAuthority
from controlplane.emit import names
from controlplane.rotation.roster import Roster
from controlplane.xds.service import Connection
from protos.frozen import frozen
from protos.types import SDS

Need = Literal["trust", "certificates", "distrust"]
State = Literal["done", "waiting", "refused", "away", "skipped"]
EVERYBODY_AWAY = "*"


@frozen
class ProxyProgress:
    """detail: for a person, '' if there is nothing to say."""

    node_id: str
    identity: str
    state: State
    detail: str = ""

    @property
    def holds_up(self) -> bool:
        return self.state in ("waiting", "refused", "away")


class Progress:
    """keys: what plain Envoys were given; None if they get none. root_version: of the SDS secret
    ROOTCA as it is now."""

    def __init__(
        self,
        roster: Roster,
        authority: LiveAuthority,
        keys: EnvoySecrets | None,
        root_version: Callable[[], str],
    ) -> None:
        self._roster = roster
        self._authority = authority
        self._keys = keys
        self._root_version = root_version

    @property
    def count(self) -> int:
        """How many proxies are connected."""
        return len(self._roster.connected())

    def of(self, need: Need, without: Collection[str] = ()) -> Iterator[ProxyProgress]:
        """Every proxy that counts; who holds nothing up, too."""
        wanted = self._root_version()
        for (node_id, identity), connection in sorted(self._roster.connected().items()):
            if need == "certificates":
                state, detail = self._certificate(connection)
            else:
                state, detail = _trust(connection, wanted)
            if state != "done" and node_id in without:
                state = "skipped"
            yield ProxyProgress(node_id, identity, state, detail)
        for one in self._roster.absent():
            skipped = EVERYBODY_AWAY in without or one.node_id in without
            state = "skipped" if skipped else "away"
            yield ProxyProgress(one.node_id, one.identity, state, "is not connected")

    def _certificate(self, connection: Connection) -> tuple[State, str]:
        if not connection.node.weft_agent:
            return self._given(connection)
        if connection.leaf is None:
            return "waiting", "its stream came by token: what certificate it serves is not seen"
        retiring = self._authority.stored.other
        if is_issued_by(connection.leaf, self._authority.certificate):
            return "done", ""
        if retiring is not None and not is_issued_by(connection.leaf, retiring.certificate):
            return "done", "its certificate is of another issuer"
        return "waiting", "has not renewed its certificate yet"

    def _given(self, connection: Connection) -> tuple[State, str]:
        """A plain Envoy, whose certificate and key came over its stream."""
        held = connection.machine.held(SDS, names.CERTIFICATE_SECRET)
        if self._keys is None or held is None:
            return "done", "has no certificate of this mesh"
        given = self._keys.held(connection.identity)
        if given is None or given.issuer != self._authority.certificate:
            return "waiting", "its new certificate is not pushed yet"
        return _acknowledged(connection, names.CERTIFICATE_SECRET, _pushed(connection))


def _trust(connection: Connection, wanted: str) -> tuple[State, str]:
    if connection.machine.held(SDS, names.ROOT_SECRET) is None:
        if connection.node.weft_agent:
            return "waiting", "has not asked for the trust bundle yet"
        return "done", "verifies nobody of this mesh"
    return _acknowledged(connection, names.ROOT_SECRET, wanted)


def _pushed(connection: Connection) -> str:
    """The version of its certificate that its newest snapshot has."""
    resource = connection.machine.snapshot.of(SDS).get(names.CERTIFICATE_SECRET)
    return resource.version if resource is not None and not connection.due else "?"


def _acknowledged(connection: Connection, name: str, wanted: str) -> tuple[State, str]:
    machine = connection.machine
    if (why := machine.rejections.get(SDS, {}).get(name)) is not None:
        return "refused", why
    if machine.held(SDS, name) == wanted:
        return "done", ""
    return "waiting", "has not acknowledged it yet"
