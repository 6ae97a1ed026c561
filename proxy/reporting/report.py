"""Tells the control plane which certificates this proxy holds and what time it is here: soon after
the stream is up, when what is held changes, and every ten minutes.

That way `weft ca doctor` knows of every certificate in the mesh, and of every clock. A report is a
call of its own over mutual TLS; nothing depends on it, so a failure is only logged.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from certs.errors import CertificateError
from certs.keys import key_to_pem
from certs.renewal import retry_delay_s
from certs.x509 import chain_to_pem
from protos.gen.weft.v1 import doctor_pb2 as pb
from proxy.config.snapshot import Snapshot
from proxy.http.grpc import RpcError
from proxy.identity import Identity
from proxy.reporting.holdings import Holding, holdings
from proxy.rpc.call import Call
from proxy.rpc.connection import open_call
from proxy.rpc.credentials import client_tls

log = logging.getLogger("weft.reporting")

METHOD = "/weft.v1.Doctor/Report"
EVERY_S = 600.0
LOOK_EVERY_S = 1.0
"""How often it is looked whether something else is held."""
TIMEOUT_S = 10.0
SKEW_S = 30.0
"""From when a difference of the clocks is worth a warning."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the control plane takes client certificates, and what its own says."""

    node_id: str
    address: str
    server_name: str


class Reporter:
    """`run` until cancelled. snapshot: what is in force. connected: discovery goes on.

    clock_ahead_s: by how much our clock was ahead of the control plane's, 0 before that is known.
    """

    def __init__(
        self,
        target: Target,
        identity: Identity,
        snapshot: Callable[[], Snapshot],
        connected: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.time,
        tick: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._target = target
        self._identity = identity
        self._snapshot = snapshot
        self._connected = connected
        self._clock = clock
        self._tick = tick
        self._sleep = sleep
        self._jitter = jitter
        self.clock_ahead_s = 0.0
        self.reports = 0
        self.failures = 0
        self.last_error = ""

    async def run(self) -> None:
        told: tuple[Snapshot, object] | None = None
        due_at = 0.0
        failures = 0
        while True:
            await self._sleep(LOOK_EVERY_S)
            if not self._connected() or self._identity.svid is None:
                told = None  # another control plane knows nothing of us
                continue
            now = (self._snapshot(), self._identity.svid)
            if told is not None and all(map(_same, now, told)) and self._tick() < due_at:
                continue
            await self._sleep(self._jitter() * self._identity.spread_s)
            try:
                await self._report()
            except (RpcError, CertificateError, TimeoutError) as error:
                failures += 1
                self._failed(error)
                await self._sleep(retry_delay_s(failures, self._jitter()))
                continue
            failures = 0
            told, due_at = now, self._tick() + EVERY_S

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        why = str(error) or "no answer in time"
        if why != self.last_error:
            log.info("what we hold is not reported yet: %s", why)
        self.last_error = why

    async def _report(self) -> None:
        held = holdings(self._snapshot(), self._identity.secret)
        async with asyncio.timeout(TIMEOUT_S):
            call = self._identity.ride(self._target.address, METHOD) or await self._dial()
            try:
                sent_at, began = self._clock(), self._tick()
                await call.send(_message(self._target.node_id, sent_at, held), end=True)
                body = await call.receive()
            finally:
                call.close()
        self._heard(body, sent_at, self._tick() - began)

    async def _dial(self) -> Call:
        """A connection of its own, where the discovery stream goes elsewhere."""
        svid, target = self._identity.svid, self._target
        assert svid is not None  # run() has looked
        own = (chain_to_pem(svid.chain), key_to_pem(svid.key))
        tls = client_tls(target.address, await self._identity.roots(), target.server_name, *own)
        return await open_call(target.address, METHOD, tls=tls, authority=target.server_name)

    def _heard(self, body: bytes | None, sent_at: float, took_s: float) -> None:
        if body is None:
            raise RpcError("INTERNAL", "the control plane ended the report without an answer")
        try:
            answer = pb.ReportReceived.FromString(body)
        except DecodeError:
            raise RpcError("INTERNAL", "the answer is not what was asked for") from None
        self.reports += 1
        self.last_error = ""
        # Half of the way there and back: as NTP takes it (RFC 5905, section 8).
        ahead_s = sent_at + took_s / 2 - answer.received_at.ToMicroseconds() / 1e6
        if abs(ahead_s) >= SKEW_S > abs(self.clock_ahead_s):
            log.warning(
                "our clock is %.0f s %s the control plane's: set it right (NTP), or certificates "
                "count too early or too late here",
                abs(ahead_s),
                "ahead of" if ahead_s > 0 else "behind",
            )
        self.clock_ahead_s = ahead_s


def _same(now: object, before: object) -> bool:
    return now is before


def _message(node_id: str, sent_at: float, held: tuple[Holding, ...]) -> bytes:
    certificates = [
        pb.HeldCertificate(
            kind=one.kind,
            secret=one.secret,
            source=one.source,
            serial=one.serial,
            sha256=one.sha256,
            issuer=one.issuer,
            name=one.name,
            not_before=_timestamp(one.not_before),
            not_after=_timestamp(one.not_after),
            used_by=one.used_by,
        )
        for one in held
    ]
    report = pb.ProxyReport(node_id=node_id, sent_at=_timestamp(sent_at), certificates=certificates)
    return report.SerializeToString()


def _timestamp(unix_s: float) -> Timestamp:
    result = Timestamp()
    result.FromMicroseconds(round(unix_s * 1e6))
    return result
