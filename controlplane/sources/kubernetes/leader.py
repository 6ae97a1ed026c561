"""One of several control planes leads: for what must be done once, as writing statuses.

`Leader.run` for as long as the process lives; `resign` at the end, so that another one needn't wait
for the Lease to run out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NoReturn

from controlplane.sources.kubernetes.answers import ApiError, Document
from controlplane.sources.kubernetes.client import UNREACHABLE, Client
from controlplane.sources.kubernetes.lease import Election, Terms

log = logging.getLogger("weft.controlplane.kubernetes")

NAME = "weft-controlplane-leader"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces"
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_RESIGN_S = 2.0


def clock() -> float:
    """Seconds, also those for which the machine slept."""
    return time.clock_gettime(_CLOCK)


class Leader:
    def __init__(
        self,
        client: Client,
        namespace: str,
        identity: str,
        told: Callable[[str], None],
        terms: Terms | None = None,
    ) -> None:
        """identity: unique among the candidates. told: gets why there can be no election, '' when
        there can."""
        self._client = client
        self._collection = f"{_LEASES}/{namespace}/leases"
        self._terms = terms or Terms()
        self._election = Election(identity, NAME, self._terms)
        self._namespace = namespace
        self._told = told
        self._lease: Document | None = None
        self._terms_of_office = 0

    @property
    def term(self) -> int:
        """Which term of office of ours it is; 0 while we do not lead."""
        return self._terms_of_office if self._election.leads(clock()) else 0

    async def run(self) -> NoReturn:
        while True:
            try:
                async with asyncio.timeout(self._terms.renew_within_s / 2):
                    await self._round()
                self._told("")
            except ApiError as error:
                self._refused(error)
            except UNREACHABLE as error:
                self._lease = None
                log.info("the Lease can not be renewed: %s", str(error) or "timeout")
            except Exception:
                self._lease = None
                log.exception("the Lease is not understood")
            await asyncio.sleep(self._terms.retry_s)

    async def _round(self) -> None:
        led = self.term
        if self._lease is None:
            self._lease = await self._read()
        asked_at = clock()
        bid = self._election.bid(self._lease, asked_at, _wall())
        if bid is None:
            self._election.lost()
            self._lease = None  # to be read again
            return
        self._lease = await self._write(self._lease, bid)
        self._election.won(self._lease, asked_at)
        if not led:
            self._terms_of_office += 1
            log.info("this control plane leads")

    def _refused(self, error: ApiError) -> None:
        self._lease = None
        if error.status == 409:
            self._election.lost()
        elif error.status == 403:
            self._told(
                f"no leader can be elected: {error.message}; the account lacks this rule: "
                '{apiGroups: ["coordination.k8s.io"], resources: [leases], verbs: [get, create, '
                f"update]}} (Role in {self._namespace})"
            )
        elif error.status == 404:
            self._told(f"no leader can be elected: {error.message}: create {self._namespace}")
        else:
            log.info("the Lease can not be renewed: %s", error.message)

    async def _read(self) -> Document | None:
        try:
            return await self._client.get(f"{self._collection}/{NAME}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def _write(self, over: Document | None, lease: Document) -> Document:
        if over is None:
            return await self._client.send("POST", self._collection, body=lease)
        return await self._client.send("PUT", f"{self._collection}/{NAME}", body=lease)

    async def resign(self) -> None:
        """Call it when `run` was cancelled. The Lease may be ours though its last renewal failed.
        What fails is passed over: it runs out."""
        if not self._terms_of_office:
            return
        try:
            async with asyncio.timeout(_RESIGN_S):
                lease = self._lease or await self._read()
                if lease is not None and self._election.holds(lease):
                    await self._write(lease, self._election.release(lease, _wall()))
        except (ApiError, *UNREACHABLE) as error:
            log.info("the Lease can not be given back: %s", error)


def _wall() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
