"""What the resources of an intercepting sidecar depend on beside services, and the names that Istio
gives to those that every one of them has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from controlplane.emit.access_logs import DEFAULT
from controlplane.emit.node import Node
from controlplane.mesh.imports import Import
from controlplane.mesh.interception import (
    NO_SIDECAR,
    Egress,
    Interception,
    OutboundPolicy,
    Sidecar,
    sidecar_of,
)
from controlplane.mesh.model import Mesh
from controlplane.mesh.rule_filters import NO_FILTERS, RuleFilters
from controlplane.mesh.scopes import Scope
from controlplane.mesh.telemetry import Logs
from protos.frozen import frozen

VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_INBOUND = "virtualInbound"
BLACK_HOLE = "BlackHoleCluster"
PASSTHROUGH = "PassthroughCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"
LOOKED_UP = "AllowAnyDynamicDNSCluster"

PLAIN_HTTP = ("http/1.0", "http/1.1", "h2c")
"""What http_inspector finds."""

_EVERYTHING = (Egress(Import(Scope(), (("*", "*"),))),)


@frozen
class Capture:
    """wildcard: the address that stands for all of the node's family, second: for all of the other
    one, '' if it has no such address. by_name: the proxy can look up where TLS wants to go by its
    server name. on_demand: it asks for what it needs. Not all of it is hashed, but all is
    compared."""

    mode: str
    wildcard: str
    by_name: bool = False
    settings: Interception = field(default_factory=Interception, hash=False)
    sidecar: Sidecar = field(default=NO_SIDECAR, hash=False)
    logs: Logs = field(default=DEFAULT, hash=False)
    rule_filters: RuleFilters = field(default=NO_FILTERS, hash=False)
    second: str = ""
    on_demand: bool = False

    @property
    def more(self) -> tuple[str, ...]:
        return (self.second,) if self.second else ()

    @property
    def egress(self) -> tuple[Egress, ...]:
        """The ports that have listeners of their own come before the one for all others."""
        return self.sidecar.egress or _EVERYTHING

    @property
    def outbound(self) -> OutboundPolicy:
        return self.sidecar.outbound or self.settings.outbound

    @property
    def transparent(self) -> bool:
        return self.mode == "TPROXY"


def capture_of(
    mesh: Mesh, node: Node, labels: Mapping[str, str], logs: Logs, wildcards: tuple[str, ...]
) -> Capture | None:
    """None for a proxy that intercepts nothing. labels: of the node's workload. wildcards: of its
    families."""
    if node.interception == "NONE":
        return None
    wildcard, second = (*wildcards, "")[:2]
    sidecar = sidecar_of(mesh.sidecars, node.namespace, labels)
    by_name = not node.weft_agent
    whole = (mesh.interception, sidecar, logs, mesh.rule_filters)
    return Capture(
        node.interception, wildcard, by_name, *whole, on_demand=node.on_demand, second=second
    )
