"""The state of a mesh as the front door shows it: plain facts, made from the management API's
answer by `management` and shown by `live` and `status`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """requests and errors: that clients without a proxy report."""

    hostname: str
    namespace: str
    endpoints_total: int
    endpoints_healthy: int
    requests: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class ProxyFacts:
    """last_push_at: seconds since the epoch, 0 for never. nacks: what the proxy refused. left_out:
    users' patches that it does without, and why."""

    workload: str
    namespace: str
    identity: str
    user_agent: str
    synced: bool
    last_push_at: float
    nacks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        if self.nacks:
            return "refused"
        return "synced" if self.synced else "on its way"


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What the control plane says of one object. severity: error, warning or info."""

    object: str
    severity: str
    message: str
    position: str
    code: str = ""

    def __str__(self) -> str:
        return f"{self.position}: {self.severity}: {self.message} ({self.object})"


@dataclass(frozen=True, slots=True)
class MeshFacts:
    """version: content hash of the configuration in force."""

    version: str = ""
    services: tuple[ServiceFacts, ...] = ()
    proxies: tuple[ProxyFacts, ...] = ()
    objects: tuple[ObjectFacts, ...] = ()

    def problems(self, notes: bool = False) -> list[ObjectFacts]:
        """Errors, then warnings, then what is only to be known."""
        rank = {"error": 0, "warning": 1} | ({"info": 2} if notes else {})
        found = [one for one in self.objects if one.severity in rank]
        return sorted(found, key=lambda one: (rank[one.severity], one.position))


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """A join token. token: '' where it is only listed. id: 64 hex digits; ends_at: Unix seconds."""

    token: str
    id: str
    identity: str
    ends_at: float
    reusable: bool
    spent: bool


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """source: 'file', 'kubernetes' or 'api'. manifest: YAML, '' where there is none to be had."""

    kind: str
    namespace: str
    name: str
    source: str
    position: str
    manifest: str
    statuses: tuple[ObjectFacts, ...]


@dataclass(frozen=True, slots=True)
class RolloutFacts:
    """Of the proxies that a change concerns. refused: node id and why."""

    concerned: int
    live: int
    refused: tuple[tuple[str, str], ...]
    over: bool


@dataclass(frozen=True, slots=True)
class AppliedFacts:
    """changes: kind, namespace, name and what became of it. rollout: None if nobody waited."""

    statuses: tuple[ObjectFacts, ...]
    changes: tuple[tuple[str, str, str, str], ...]
    rollout: RolloutFacts | None


@dataclass(frozen=True, slots=True)
class DeletedFacts:
    """existed: there was one that had been applied. rollout: None if nobody waited."""

    existed: bool
    rollout: RolloutFacts | None = None


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """Of a resource type on one stream: content hashes, and how many resources."""

    type_url: str
    sent: str
    acked: str
    resources: int


@dataclass(frozen=True, slots=True)
class SyncFacts:
    """A proxy with its types. variant: 'delta' or 'sotw'."""

    node_id: str
    proxy: ProxyFacts
    variant: str
    types: tuple[TypeFacts, ...]
