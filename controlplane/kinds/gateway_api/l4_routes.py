"""Gateway API's TLSRoute, TCPRoute and UDPRoute.

v1 has exactly one rule, v1alpha2 up to 16 of which a connection, that nothing tells apart, takes
the first; in TLSRoute v1alpha2 host names are optional.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.kinds.gateway_api.references import (
    PARENTS,
    SCOPE,
    BackendRef,
    ParentReference,
    Scope,
    name_faults,
    parent_faults,
)
from controlplane.kinds.gateway_api.words import GROUP, HOSTNAME, SECTION, items
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Record, names, obj, optional, record, required
from controlplane.mesh.ip import is_ip

_V1 = names(f"{GROUP}/v1")
_V1ALPHA2 = names(f"{GROUP}/v1alpha2")


@record
class L4Rule(Record):
    name: str = optional(SECTION, "")
    backend_refs: tuple[BackendRef, ...] = required(items(obj(BackendRef), 16, 1))


@record
class L4RouteSpec(Record):
    parent_refs: tuple[ParentReference, ...] = optional(PARENTS, ())
    use_default_gateways: Scope = optional(SCOPE, "")
    rules: tuple[L4Rule, ...] = required(items(obj(L4Rule), 1, 1))

    def check(self) -> Iterator[tuple[str, str]]:
        yield from parent_faults(self.parent_refs)
        yield from name_faults(self.rules)


@record
class OldL4RouteSpec(L4RouteSpec):
    rules: tuple[L4Rule, ...] = required(items(obj(L4Rule), 16, 1))


@record
class TCPRoute(Object):
    API_VERSIONS = _V1
    spec: L4RouteSpec = required(obj(L4RouteSpec))


@record
class OldTCPRoute(TCPRoute):
    API_VERSIONS = _V1ALPHA2
    KIND = "TCPRoute"
    spec: OldL4RouteSpec = required(obj(OldL4RouteSpec))


@record
class UDPRoute(Object):
    API_VERSIONS = _V1
    spec: L4RouteSpec = required(obj(L4RouteSpec))


@record
class OldUDPRoute(UDPRoute):
    API_VERSIONS = _V1ALPHA2
    KIND = "UDPRoute"
    spec: OldL4RouteSpec = required(obj(OldL4RouteSpec))


@record
class TlsRouteSpec(L4RouteSpec):
    hostnames: tuple[str, ...] = required(items(HOSTNAME, 1024, 1))

    def check(self) -> Iterator[tuple[str, str]]:
        yield from L4RouteSpec.check(self)
        for index, host in enumerate(self.hostnames):
            if is_ip(host):
                yield f"hostnames[{index}]", f"expected a host name, got the IP address {host}"


@record
class OldTlsRouteSpec(TlsRouteSpec):
    hostnames: tuple[str, ...] = optional(items(HOSTNAME, 1024), ())
    rules: tuple[L4Rule, ...] = required(items(obj(L4Rule), 16, 1))


@record
class TLSRoute(Object):
    API_VERSIONS = names(f"{GROUP}/v1 {GROUP}/v1alpha3")
    spec: TlsRouteSpec = required(obj(TlsRouteSpec))


@record
class OldTLSRoute(TLSRoute):
    API_VERSIONS = _V1ALPHA2
    KIND = "TLSRoute"
    spec: OldTlsRouteSpec = required(obj(OldTlsRouteSpec))
