"""Who leads, by a Lease (coordination.k8s.io/v1), as client-go's leader election decides it. Pure.

    free, or not renewed for its leaseDurationSeconds   ->  bid: write it with our name
    ours                                                ->  renew it
    another's                                           ->  wait

Times within a Lease are for people: each candidate counts from when it saw the Lease change, by its
own clock, so that clocks need not agree. The API server lets one of two writers win (409 for the
other). A leader that could not renew for `renew_within_s` leads no more, which is before another
one may take over.
"""

from __future__ import annotations

from typing import Any

from controlplane.sources.kubernetes.answers import Document, mapping
from protos.frozen import frozen

API_VERSION = "coordination.k8s.io/v1"


@frozen
class Terms:
    """client-go's defaults."""

    lease_s: int = 15
    renew_within_s: float = 10.0
    retry_s: float = 2.0


class Election:
    """now: seconds of a clock that only grows. wall: RFC 3339 with microseconds (MicroTime)."""

    __slots__ = ("_identity", "_name", "_renewed_at", "_seen", "_seen_at", "_terms")

    def __init__(self, identity: str, name: str, terms: Terms) -> None:
        self._identity = identity
        self._name = name
        self._terms = terms
        self._seen: object = None
        self._seen_at = 0.0
        self._renewed_at = float("-inf")

    def leads(self, now: float) -> bool:
        return now < self._renewed_at + self._terms.renew_within_s

    def bid(self, lease: Document | None, now: float, wall: str) -> Document | None:
        """The Lease to be written over `lease` (None: there is none, create it); None: wait."""
        spec = mapping(None if lease is None else lease.get("spec"))
        if self._seen != dict(spec):
            self._seen, self._seen_at = dict(spec), now
        holder = spec.get("holderIdentity") or ""
        ours = holder == self._identity
        if holder and not ours and now < self._seen_at + _seconds(spec, self._terms.lease_s):
            return None
        transitions = _number(spec.get("leaseTransitions"))
        made: dict[str, Any] = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._terms.lease_s,
            "acquireTime": spec.get("acquireTime") if ours else wall,
            "renewTime": wall,
            "leaseTransitions": transitions if ours or lease is None else transitions + 1,
        }
        return self._written(lease, made)

    def holds(self, lease: Document) -> bool:
        """Whether it has our name."""
        return mapping(lease.get("spec")).get("holderIdentity") == self._identity

    def release(self, lease: Document, wall: str) -> Document:
        """The Lease that lets another one lead at once."""
        spec = mapping(lease.get("spec"))
        self._renewed_at = float("-inf")
        freed = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": wall}
        return self._written(lease, {**spec, **freed})

    def won(self, lease: Document, asked_at: float) -> None:
        """The server took it; asked_at: before it was asked."""
        self._renewed_at = asked_at
        self._seen, self._seen_at = dict(mapping(lease.get("spec"))), asked_at

    def lost(self) -> None:
        """Another one holds it."""
        self._renewed_at = float("-inf")

    def _written(self, lease: Document | None, spec: dict[str, Any]) -> Document:
        head = {"apiVersion": API_VERSION, "kind": "Lease"}
        metadata = {"name": self._name} if lease is None else lease["metadata"]
        return {**head, "metadata": metadata, "spec": spec}


def _seconds(spec: Any, default_s: int) -> float:
    return float(_number(spec.get("leaseDurationSeconds")) or default_s)


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
