"""Has each proxy try the chain of a staged authority against a probe, and lists who fails.

Every connected proxy gets one more cluster for a moment, with the roots that it would trust and a
health check of the probe; nothing that is in force changes. There it shows a certificate of the new
authority for its own identity, with a key that lives a minute and is for nothing else, and the
probe verifies it with the new roots alone, as its peers will.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from certs.authority import Authority
from certs.bundle import TrustBundle
from certs.errors import CertificateError
from certs.spiffe import SpiffeId
from certs.store import load_store
from controlplane.ca.envoy_secrets import Record
from controlplane.ca.issued import issue_secret
from controlplane.emit import rehearsal
from controlplane.emit.node import Node
from controlplane.rotation.probe import Probe
from controlplane.rotation.progress import ProxyProgress, State
from controlplane.rotation.roster import Roster
from controlplane.snapshot import Draft
from controlplane.xds.service import Connection
from protos.types import CDS

WAIT_S = 10.0
LOOK_EVERY_S = 0.05
PROBE_TTL_S = 600.0
SHOWN_TTL_S = 60.0
ASKED_BY = "rehearsal"

ExtrasFor = Callable[[Node], Draft]
NameOf = Callable[[Node], str]
Show = Callable[[ExtrasFor | None], None]
"""Has every snapshot hold what the function gives for its node, or no more of it, and all streams
look at it."""


class Rehearsals:
    """host: where proxies reach this process. gives_keys: plain Envoys may be given keys, and so
    try to show a certificate, too. record: of what is issued. wait_s: for those of which nothing is
    heard."""

    def __init__(
        self,
        state_dir: Path,
        roster: Roster,
        show: Show,
        host: str,
        clock: Callable[[], float] = time.time,
        *,
        gives_keys: bool = True,
        record: Record = lambda leaf, identity, asked, now: None,
        wait_s: float = WAIT_S,
        passphrase: bytes | None = None,
    ) -> None:
        self._state_dir = state_dir
        self._roster = roster
        self._show = show
        self._host = host
        self._clock = clock
        self._gives_keys = gives_keys
        self._record = record
        self._wait_s = wait_s
        self._passphrase = passphrase
        self._lock = asyncio.Lock()

    async def run(self, target: str) -> tuple[ProxyProgress, ...]:
        """CertificateError: nothing of this id is staged, or the probe cannot be opened."""
        async with self._lock:
            now = self._clock()
            stored = await asyncio.to_thread(load_store, self._state_dir, now, self._passphrase)
            new = stored.other
            if new is None or new.id != target:
                raise CertificateError(f"{target} is not staged, so there is nothing to rehearse")
            return await self._rehearse(stored.authority, new, now)

    async def _rehearse(
        self, old: Authority, new: Authority, now: float
    ) -> tuple[ProxyProgress, ...]:
        identity = SpiffeId.workload(new.trust_domain, "weft-system", "weft-rehearsal")
        secret = issue_secret(new, identity, PROBE_TTL_S, now)
        roots = tuple(dict.fromkeys((*old.bundle.roots, *new.bundle.roots)))
        bundle_pem = TrustBundle(roots).to_pem()
        probe = Probe(secret.key_pem, secret.chain_pem, new.bundle.to_pem())
        try:
            port = await probe.start(self._host)
        except OSError as error:
            probe.close()
            raise CertificateError(f"the probe cannot listen on {self._host}: {error}") from None

        salt = secrets.token_hex(16)

        def name_of(node: Node) -> str:
            """Nobody else knows it, so nobody can come to the probe in its place."""
            return f"{salt}/{node.namespace}/{node.service_account}/{node.id}"

        made: dict[str, Draft] = {}

        def extras(node: Node) -> Draft:
            who = name_of(node)
            if who not in made:
                shown = self._shown(new, node, probe, who)
                where = (self._host, port)
                made[who] = rehearsal.draft(who, where, bundle_pem, str(identity), shown)
            return made[who]

        try:
            self._show(extras)
            await self._listen(probe, name_of)
            return self._report(probe, name_of, f"{self._host}:{port}")
        finally:
            self._show(None)
            probe.close()

    def _shown(
        self, new: Authority, node: Node, probe: Probe, who: str
    ) -> tuple[bytes, bytes] | None:
        """Chain and key that the node is to show, if any, which the probe hears of."""
        if not node.weft_agent and not self._gives_keys:
            return None
        identity = SpiffeId.workload(new.trust_domain, node.namespace, node.service_account)
        now = self._clock()
        made = issue_secret(new, identity, SHOWN_TTL_S, now)
        self._record(made.leaf, identity, ASKED_BY, now)
        probe.expected[rehearsal.server_name(who)] = str(identity)
        return made.chain_pem, made.key_pem

    async def _listen(self, probe: Probe, name_of: NameOf) -> None:
        """Until all connected proxies were heard of, or long enough."""
        end = time.monotonic() + self._wait_s
        while time.monotonic() < end:
            here = self._roster.connected().values()
            if all(_outcome(one, probe, name_of)[0] != "waiting" for one in here):
                return
            await asyncio.sleep(LOOK_EVERY_S)

    def _report(self, probe: Probe, name_of: NameOf, where: str) -> tuple[ProxyProgress, ...]:
        found: list[ProxyProgress] = []
        for (node_id, identity), connection in sorted(self._roster.connected().items()):
            state, detail = _outcome(connection, probe, name_of)
            if state == "waiting":
                detail = f"did not come to the probe at {where}: can it reach that address?"
            found.append(ProxyProgress(node_id, identity, state, detail))
        found += [
            ProxyProgress(one.node_id, one.identity, "away", "is not connected")
            for one in self._roster.absent()
        ]
        return tuple(found)


def _outcome(connection: Connection, probe: Probe, name_of: NameOf) -> tuple[State, str]:
    why = probe.heard.get(rehearsal.server_name(name_of(connection.node)))
    if why is not None:
        return ("refused", why) if why else ("done", "")
    rejected = connection.machine.rejections.get(CDS, {})
    if rehearsal.REHEARSAL_CLUSTER in rejected:
        return "refused", rejected[rehearsal.REHEARSAL_CLUSTER]
    return "waiting", ""
