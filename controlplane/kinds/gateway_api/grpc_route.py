"""Gateway API's GRPCRoute."""

from __future__ import annotations

import re
from collections.abc import Iterator

from controlplane.kinds.decoders import enum
from controlplane.kinds.gateway_api.filters import (
    GRPC_BACKENDS,
    GRPC_FILTERS,
    GrpcBackendRef,
    GrpcFilter,
    filter_faults,
)
from controlplane.kinds.gateway_api.http_route import MAX_MATCHES, ValueKind, ValueMatch
from controlplane.kinds.gateway_api.persistence import SessionPersistence
from controlplane.kinds.gateway_api.references import (
    PARENTS,
    SCOPE,
    ParentReference,
    Scope,
    name_faults,
    parent_faults,
)
from controlplane.kinds.gateway_api.words import (
    GROUP,
    HOSTNAME,
    SECTION,
    bounded,
    items,
)
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Record, names, obj, optional, record, required

_SERVICE = re.compile(r"(?i)\.?[a-z_][a-z_0-9]*(?:\.[a-z_][a-z_0-9]*)*")
_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


@record
class GrpcMethodMatch(Record):
    """'' is any service, or any method."""

    type: ValueKind = optional(enum("Exact", "RegularExpression"), "Exact")
    service: str = optional(bounded(1024), "")
    method: str = optional(bounded(1024), "")

    def check(self) -> Iterator[tuple[str, str]]:
        if "service" not in self.where and "method" not in self.where:
            yield "", "needs a service, a method or both"
        for key, value, good in (
            ("service", self.service, _SERVICE),
            ("method", self.method, _METHOD),
        ):
            if key not in self.where:
                continue
            if self.type == "Exact" and not good.fullmatch(value):
                yield key, f"{value!r} is not the name of a gRPC {key}"


@record
class GrpcHeaderMatch(ValueMatch):
    value: str = required(bounded(4096, 1))


def _name_of(match: GrpcHeaderMatch) -> str:
    return match.name


@record
class GrpcRouteMatch(Record):
    method: GrpcMethodMatch | None = optional(obj(GrpcMethodMatch))
    headers: tuple[GrpcHeaderMatch, ...] = optional(
        items(obj(GrpcHeaderMatch), 16, unique=_name_of), ()
    )


@record
class GrpcRouteRule(Record):
    """Without matches it takes every call."""

    name: str = optional(SECTION, "")
    matches: tuple[GrpcRouteMatch, ...] = optional(items(obj(GrpcRouteMatch), 64), ())
    filters: tuple[GrpcFilter, ...] = optional(GRPC_FILTERS, ())
    backend_refs: tuple[GrpcBackendRef, ...] = optional(GRPC_BACKENDS, ())
    session_persistence: SessionPersistence | None = optional(obj(SessionPersistence))

    def check(self) -> Iterator[tuple[str, str]]:
        yield from filter_faults(self.filters)


@record
class GrpcRouteSpec(Record):
    parent_refs: tuple[ParentReference, ...] = optional(PARENTS, ())
    use_default_gateways: Scope = optional(SCOPE, "")
    hostnames: tuple[str, ...] = optional(items(HOSTNAME, 16), ())
    rules: tuple[GrpcRouteRule, ...] = optional(items(obj(GrpcRouteRule), 16), ())

    def check(self) -> Iterator[tuple[str, str]]:
        yield from parent_faults(self.parent_refs)
        yield from name_faults(self.rules)
        if sum(len(rule.matches) for rule in self.rules) > MAX_MATCHES:
            yield "rules", f"more than {MAX_MATCHES} matches in all"


@record
class GRPCRoute(Object):
    API_VERSIONS = names(f"{GROUP}/v1 {GROUP}/v1alpha2")
    spec: GrpcRouteSpec = required(obj(GrpcRouteSpec))
