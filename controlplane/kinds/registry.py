"""The one table of the kinds that Weft understands: kind -> classes, and which apiVersion."""

from __future__ import annotations

from controlplane.kinds.apps import Deployment
from controlplane.kinds.core import (
    ConfigMap,
    Endpoints,
    EndpointSlice,
    Namespace,
    Service,
    ServiceAccount,
)
from controlplane.kinds.destination_rule import DestinationRule
from controlplane.kinds.objects import Object
from controlplane.kinds.peer_authentication import PeerAuthentication
from controlplane.kinds.service_entry import ServiceEntry, WorkloadEntry
from controlplane.kinds.virtual_service import VirtualService

KINDS: dict[tuple[str, str], type[Object]] = {
    (version, cls.__name__): cls
    for cls in (
        Service,
        Endpoints,
        EndpointSlice,
        ServiceAccount,
        Namespace,
        ConfigMap,
        Deployment,
        ServiceEntry,
        WorkloadEntry,
        VirtualService,
        DestinationRule,
        PeerAuthentication,
    )
    for version in cls.API_VERSIONS
}
"""(apiVersion, kind) -> class."""


def versions_of(kind: str) -> tuple[str, ...]:
    """The apiVersions under which `kind` is understood, sorted; empty for an unknown kind."""
    return tuple(sorted(version for version, name in KINDS if name == kind))
