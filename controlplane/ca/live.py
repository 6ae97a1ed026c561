"""The authority as it is now: who signs, and what is trusted, while roots come and go.

Everybody who signs or hands out trust holds this one object and asks it each time, so that a step
of a rotation is one reference swapped. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from certs.authority import Authority
from certs.bundle import TrustBundle
from certs.issuance import Issuance
from certs.keys import PublicKey
from certs.spiffe import SpiffeId
from certs.store import StoredAuthority
from certs.x509 import Certificate, validity


class Signer(Protocol):
    """What is needed of `certs.authority.Authority`; LiveAuthority is one too."""

    @property
    def trust_domain(self) -> str: ...

    @property
    def certificate(self) -> Certificate:
        """The one that issues."""

    def sign(
        self,
        subject: bytes | PublicKey,
        identity: SpiffeId,
        ttl_s: float,
        now: float,
        *,
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[str] = (),
    ) -> tuple[Certificate, ...]:
        """Leaf first, root last."""


class WorkloadSigner(Protocol):
    """What signs for workloads' keys; an Authority and a LiveAuthority do."""

    def issue(self, key: PublicKey, identity: SpiffeId, ttl_s: float, now: float) -> Issuance: ...


class LiveAuthority:
    """`swap` in the loop; the rest from anywhere."""

    __slots__ = ("_also", "_listeners", "_stored")

    def __init__(self, stored: StoredAuthority) -> None:
        self._stored = stored
        self._also: TrustBundle | None = None
        self._listeners: list[Callable[[], None]] = []

    @property
    def stored(self) -> StoredAuthority:
        return self._stored

    @property
    def authority(self) -> Authority:
        """Who signs now."""
        return self._stored.authority

    @property
    def bundle(self) -> TrustBundle:
        """What is trusted now."""
        own = self._stored.bundle
        return own if self._also is None else own.union(self._also)

    @property
    def trust_domain(self) -> str:
        return self._stored.authority.trust_domain

    @property
    def certificate(self) -> Certificate:
        return self._stored.authority.certificate

    def cross(self, now: float) -> tuple[Certificate, ...]:
        """The root of who signs as a former one has signed it; () if there is none that counts."""
        return tuple(one for one in self._stored.cross if now < validity(one)[1])

    def sign(
        self,
        subject: bytes | PublicKey,
        identity: SpiffeId,
        ttl_s: float,
        now: float,
        *,
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[str] = (),
    ) -> tuple[Certificate, ...]:
        """As `Authority.sign`, by whoever signs now."""
        return self._stored.authority.sign(
            subject, identity, ttl_s, now, dns_names=dns_names, ip_addresses=ip_addresses
        )

    def issue(self, key: PublicKey, identity: SpiffeId, ttl_s: float, now: float) -> Issuance:
        """As `Authority.issue`, by whoever signs now."""
        return self._stored.authority.issue(key, identity, ttl_s, now)

    def trust_also(self, bundle: TrustBundle) -> None:
        """The roots of a foreign issuer are trusted beside our own from now on."""
        self._also = bundle
        for callback in self._listeners:
            callback()

    def listen(self, callback: Callable[[], None]) -> None:
        """Has `callback` called in the loop after each `swap`."""
        self._listeners.append(callback)

    def swap(self, stored: StoredAuthority) -> None:
        """From now on it is this one."""
        self._stored = stored
        for callback in self._listeners:
            callback()
