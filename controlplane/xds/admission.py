"""Who may have whose configuration: the identity that a stream proved decides, not its words."""

from __future__ import annotations

from dataclasses import dataclass

from certs.spiffe import SpiffeId
from certs.x509 import Certificate
from controlplane.emit.node import Node


@dataclass(frozen=True, slots=True)
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
