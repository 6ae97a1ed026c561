"""The foreign bundles that are believed now, and the loop that keeps them fresh.

`believed` is what proxies are pushed. Endpoints are asked in worker threads, one at a time for each
trust domain; an error is told once when it begins, and again each time the bundle's age doubles.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from certs.spiffe_bundle import SpiffeBundle
from certs.x509 import Certificate
from controlplane.federation.fetch import FetchError, fetch_spiffe, fetch_web
from controlplane.federation.followed import Followed
from controlplane.federation.shelf import Shelf
from controlplane.mesh.federation import ForeignDomain
from controlplane.mesh.model import Status
from controlplane.rounds import Rounds

log = logging.getLogger("weft.controlplane.federation")


class Federation:
    """`configure` after each change of the configuration, in the loop; `run` until cancelled.

    changed is called when other roots are believed, restate when `statuses` are others. web_roots
    None: the system's."""

    def __init__(
        self,
        shelf: Shelf,
        changed: Callable[[], None],
        *,
        restate: Callable[[], None] = lambda: None,
        web_roots: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._shelf = shelf
        self._changed = changed
        self._restate = restate
        self._web_roots = web_roots
        self._clock = clock
        self._jitter = jitter
        self._told: dict[str, float] = {}
        self._late: frozenset[str] = frozenset()
        self._rounds = Rounds("bundle", self._due, self._refresh, clock)
        self.followed: dict[str, Followed] = {}
        self.aliases: tuple[str, ...] = ()

    def believed(self) -> Mapping[str, tuple[Certificate, ...]]:
        """Roots by trust domain, sorted; those of which nothing is known are not there."""
        return {
            name: followed.bundle.roots
            for name, followed in sorted(self.followed.items())
            if followed.bundle is not None
        }

    def statuses(self) -> tuple[Status, ...]:
        """A warning for each trust domain whose bundle is late, or of which there is none."""
        now = self._clock()
        return tuple(
            _late_status(followed, now)
            for _, followed in sorted(self.followed.items())
            if followed.is_late(now)
        )

    def configure(self, domains: Iterable[ForeignDomain], aliases: tuple[str, ...] = ()) -> None:
        """Follows these and no others: what is not federated any more is believed no more.
        `aliases` are other names of the mesh's own trust domain."""
        self.aliases = aliases
        before, now = self.believed(), self._clock()
        wanted = {domain.trust_domain: domain for domain in domains}
        for name in self.followed.keys() - wanted.keys():
            del self.followed[name]
            self._told.pop(name, None)
        for name, domain in wanted.items():
            if name in self.followed:
                self.followed[name].configured(domain, now)
            else:
                self.followed[name] = self._follow(domain, now)
        self._rounds.wake()
        if self.believed() != before:
            self._changed()

    def _follow(self, domain: ForeignDomain, now: float) -> Followed:
        followed = Followed(domain, now)
        known = self._shelf.get(domain.trust_domain) if domain.url else None
        if known is not None:
            followed.remembered(*known)
        return followed

    async def run(self) -> None:
        await self._rounds.run()

    def _due(self) -> Iterator[tuple[str, float]]:
        every = self.followed.items()
        return ((name, followed.due_at) for name, followed in every if followed.domain.url)

    async def _refresh(self, name: str) -> None:
        followed = self.followed.get(name)
        if followed is None:
            return  # it was taken out meanwhile
        domain = followed.domain
        try:
            bundle = await asyncio.to_thread(self._fetch, domain)
            await asyncio.to_thread(self._shelf.put, name, bundle, self._clock())
            if self._is_current(name, followed, domain):
                self._got(name, followed, bundle)
        except FetchError as error:
            self._failed(name, followed, domain, str(error))
        except Exception as error:
            # Our own mistake, which a foreign document can reach: asked again, but not at once.
            log.exception("refreshing the bundle of trust domain %s", name)
            self._failed(name, followed, domain, f"{domain.url}: {type(error).__name__}: {error}")

    def _failed(self, name: str, followed: Followed, domain: ForeignDomain, reason: str) -> None:
        if self._is_current(name, followed, domain):
            followed.failed(reason, self._clock(), self._jitter())
            self._tell(name, followed)
            self._look_who_is_late()

    def _is_current(self, name: str, followed: Followed, domain: ForeignDomain) -> bool:
        """Not while we asked has the configuration become another one."""
        return self.followed.get(name) is followed and followed.domain == domain

    def _fetch(self, domain: ForeignDomain) -> SpiffeBundle:
        """In a worker thread."""
        if domain.endpoint is None:
            return fetch_web(domain.url, self._web_roots or ssl.create_default_context())
        verifier = self.followed.get(domain.endpoint.trust_domain)
        if verifier is None or verifier.bundle is None:
            raise FetchError(
                f"{domain.url}: no bundle of trust domain {domain.endpoint.trust_domain} to "
                "verify the endpoint's certificate with: configure its trustDomainBundle"
            )
        return fetch_spiffe(domain.url, domain.endpoint, verifier.bundle)

    def _got(self, name: str, followed: Followed, bundle: SpiffeBundle) -> None:
        if self._told.pop(name, None) is not None:
            log.warning("the bundle of trust domain %s is fresh again", name)
        changed = followed.got(bundle, self._clock())
        self._look_who_is_late()
        if changed:
            log.info("trust domain %s has %d roots now", name, len(bundle.roots))
            self._changed()

    def _look_who_is_late(self) -> None:
        now = self._clock()
        late = frozenset(name for name, one in self.followed.items() if one.is_late(now))
        if late != self._late:
            self._late = late
            self._restate()

    def _tell(self, name: str, followed: Followed) -> None:
        age_s = followed.age_s(self._clock())
        if age_s < self._told.get(name, 0.0):
            return
        self._told[name] = max(2 * age_s, followed.refresh_s)
        if followed.bundle is None:
            log.error(
                "no bundle of trust domain %s, so nobody of it is believed: %s",
                name,
                followed.error,
            )
            return
        log.warning(
            "the bundle of trust domain %s can't be refreshed: the one of %d s ago stays in force "
            "(%s)",
            name,
            age_s,
            followed.error,
        )


def _late_status(followed: Followed, now: float) -> Status:
    domain = followed.domain
    message = (
        f"trust domain {domain.trust_domain}: no bundle for {followed.age_s(now):.0f} s, "
        f"{'the last one stays in force' if followed.bundle else 'so nobody of it is believed'} "
        f"({followed.error})"
    )
    return Status(domain.position, "warning", "BundleLate", domain.object, message)
