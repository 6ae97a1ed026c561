"""Patches that users make to what is emitted for Envoy, in Envoy's own words."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from controlplane.mesh.position import NOWHERE, Position
from controlplane.mesh.scopes import Scope
from protos.frozen import frozen

Context = Literal["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY"]


@frozen
class PatchMatch:
    """What is patched; '' and 0 are anything. filter is one of a chain's (or of the listener's),
    http_filter one of its HTTP connection manager's. gateway ('namespace/name') and server are of a
    gateway's tables that end TLS. proxy_version (RE2, of ISTIO_VERSION) and metadata are what the
    proxy says of itself."""

    listener: str = ""
    port: int = 0
    chain: str = ""
    server_name: str = ""
    transport: str = ""
    protocols: tuple[str, ...] = ()
    destination_port: int = 0
    filter: str = ""
    http_filter: str = ""
    route_configuration: str = ""
    virtual_host: str = ""
    domain: str = ""
    route: str = ""
    route_action: str = "ANY"
    gateway: str = ""
    server: str = ""
    cluster: str = ""
    service: str = ""
    subset: str = ""
    proxy_version: str = ""
    metadata: tuple[tuple[str, str], ...] = ()


@frozen
class EnvoyPatch:
    """apply_to and operation are Istio's words, but for CLEAR: what is set in the value is not set
    afterwards. value is JSON, '' where there is none. default: not for proxies that have settings
    of their own. object: who says so, as in a Status; path: where in it."""

    apply_to: str
    operation: str
    value: str
    context: Context = "ANY"
    match: PatchMatch = field(default_factory=PatchMatch)
    scope: Scope = field(default_factory=Scope, hash=False)
    object: str = field(default="", compare=False)
    path: str = field(default="", compare=False)
    position: Position = field(default=NOWHERE, compare=False)
    default: bool = False
