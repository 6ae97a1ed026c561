"""Who may have whose configuration, and how many at a time: the identity that a stream proved
decides, not its words."""

from __future__ import annotations

from collections import Counter

from certs.spiffe import SpiffeId
from certs.x509 import Certificate
from controlplane.emit.node import Node
from protos.frozen import frozen

MAX_STREAMS = 50_000
MAX_STREAMS_OF_ONE_IDENTITY = 10_000
MAX_NAMES = 250_000
"""That one stream may ask for: no mesh has as many, but a client may make them up."""


@frozen
class Proof:
    """What a stream's credentials prove. With a refusal: nothing, and why. Without: `identity`,
    which is None for the administrator. leaf: the certificate that proved it, if one did."""

    identity: SpiffeId | None = None
    refusal: str = ""
    leaf: Certificate | None = None


def objection(node: Node, identity: SpiffeId | None) -> str:
    """Why a stream that proved `identity` may not speak for `node`; '' if it may."""
    if identity is None:
        return "the administrator's token opens no discovery stream: use a join token or an SVID"
    if (node.namespace, node.service_account) == (identity.namespace, identity.service_account):
        return ""
    return (
        f"node {node.id} says it is service account {node.service_account} of namespace "
        f"{node.namespace}, but its credentials are those of {identity}: correct NAMESPACE and "
        "SERVICE_ACCOUNT in the node's metadata, or use its own token"
    )


class Seats:
    """How many streams are open, in all and of each identity. Whoever has a seat keeps it and who
    comes too late is refused, so that no workload crowds another one out."""

    __slots__ = ("_all", "_of_all", "_of_one", "_taken")

    def __init__(
        self, of_all: int = MAX_STREAMS, of_one: int = MAX_STREAMS_OF_ONE_IDENTITY
    ) -> None:
        self._of_all = of_all
        self._of_one = of_one
        self._taken: Counter[SpiffeId] = Counter()
        self._all = 0

    def take(self, identity: SpiffeId) -> str:
        """Why there is no seat for it; '': it has one, which it must `leave`."""
        if self._taken[identity] >= self._of_one:
            return (
                f"{identity} has {self._of_one} streams open already: find out which of its "
                "proxies opens so many, or give its workloads more than one service account"
            )
        if self._all >= self._of_all:
            return f"{self._of_all} streams are open already: run another control plane"
        self._taken[identity] += 1
        self._all += 1
        return ""

    def leave(self, identity: SpiffeId) -> None:
        self._all -= 1
        self._taken[identity] -= 1
        if not self._taken[identity]:
            del self._taken[identity]
