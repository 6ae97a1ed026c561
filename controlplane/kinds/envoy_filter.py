"""Istio's EnvoyFilter: patches of what is emitted for Envoy, in Envoy's own words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.kinds.decoders import enum, integer, json_object, list_of, map_of, opaque, text
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Record, names, obj, optional, record, required
from controlplane.kinds.selectors import TARGET_REF, TargetRef
from controlplane.kinds.service_entry import LabelSelector

ApplyTo = Literal[
    "LISTENER",
    "FILTER_CHAIN",
    "NETWORK_FILTER",
    "HTTP_FILTER",
    "ROUTE_CONFIGURATION",
    "VIRTUAL_HOST",
    "HTTP_ROUTE",
    "CLUSTER",
    "EXTENSION_CONFIG",
    "BOOTSTRAP",
    "LISTENER_FILTER",
]
Operation = Literal[
    "MERGE",
    "ADD",
    "REMOVE",
    "INSERT_BEFORE",
    "INSERT_AFTER",
    "INSERT_FIRST",
    "REPLACE",
    "MERGE_AND_REPLACE_LIST",
]
_APPLY_TO = enum(*ApplyTo.__args__)  # type: ignore[attr-defined]
_OPERATION = enum(*Operation.__args__)  # type: ignore[attr-defined]
_CONTEXT = enum("ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT")
_PORT = integer(0, 65535)
_IN_A_CHAIN = frozenset(("NETWORK_FILTER", "HTTP_FILTER"))


@record
class ProxyMatch(Record):
    proxy_version: str = optional(text, "")
    metadata: Mapping[str, str] = optional(map_of(text), {})


@record
class SubFilter(Record):
    name: str = optional(text, "")


@record
class FilterMatch(Record):
    name: str = optional(text, "")
    sub_filter: SubFilter | None = optional(obj(SubFilter))


@record
class FilterChainMatch(Record):
    name: str = optional(text, "")
    sni: str = optional(text, "")
    transport_protocol: str = optional(text, "")
    application_protocols: str = optional(text, "")
    destination_port: int = optional(_PORT, 0)
    filter: FilterMatch | None = optional(obj(FilterMatch))


@record
class ListenerMatch(Record):
    port_number: int = optional(_PORT, 0)
    port_name: str = optional(text, "")
    filter_chain: FilterChainMatch | None = optional(obj(FilterChainMatch))
    listener_filter: str = optional(text, "")
    name: str = optional(text, "")


@record
class RouteMatch(Record):
    name: str = optional(text, "")
    action: str = optional(enum("ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"), "ANY")


@record
class VirtualHostMatch(Record):
    name: str = optional(text, "")
    domain_name: str = optional(text, "")
    route: RouteMatch | None = optional(obj(RouteMatch))


@record
class RouteConfigurationMatch(Record):
    port_number: int = optional(_PORT, 0)
    port_name: str = optional(text, "")
    gateway: str = optional(text, "")
    vhost: VirtualHostMatch | None = optional(obj(VirtualHostMatch))
    name: str = optional(text, "")


@record
class ClusterMatch(Record):
    port_number: int = optional(_PORT, 0)
    service: str = optional(text, "")
    subset: str = optional(text, "")
    name: str = optional(text, "")


@record
class PatchMatch(Record):
    context: str = optional(_CONTEXT, "ANY")
    proxy: ProxyMatch | None = optional(obj(ProxyMatch))
    listener: ListenerMatch | None = optional(obj(ListenerMatch))
    route_configuration: RouteConfigurationMatch | None = optional(obj(RouteConfigurationMatch))
    cluster: ClusterMatch | None = optional(obj(ClusterMatch))
    waypoint: None = optional(opaque)

    def check(self) -> Iterator[tuple[str, str]]:
        kinds = ("listener", "routeConfiguration", "cluster", "waypoint")
        given = [key for key in kinds if key in self.where]
        if len(given) > 1:
            yield given[1], f"expected only one of {', '.join(kinds)}, got {' and '.join(given)}"
        if ("waypoint" in self.where) != (self.context == "WAYPOINT"):
            yield "waypoint", "and the context WAYPOINT go together"


@record
class Patch(Record):
    """value: a message of Envoy's, as JSON."""

    operation: str = optional(_OPERATION, "")
    value: str = optional(json_object, "")
    filter_class: str = optional(enum("UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"), "UNSPECIFIED")


@record
class ConfigPatch(Record):
    apply_to: str = required(_APPLY_TO)
    match: PatchMatch = optional(obj(PatchMatch), PatchMatch())
    patch: Patch = required(obj(Patch))

    def check(self) -> Iterator[tuple[str, str]]:
        """Istio's rules: what is put in needs a value, and only parts of a list have an order."""
        operation = self.patch.operation
        if not operation:
            yield "patch", "needs an operation"
        if operation != "REMOVE" and "value" not in self.patch.where:
            yield "patch", f"{operation or 'a patch'} needs a value"
        if operation == "REMOVE" and "value" in self.patch.where:
            yield "patch", "REMOVE has no use for a value"
        if operation == "REPLACE" and self.apply_to not in (*_IN_A_CHAIN, "LISTENER_FILTER"):
            yield "patch", "REPLACE is for filters"
        if self.apply_to in _IN_A_CHAIN and operation.startswith("INSERT_"):
            yield from self._place_faults(operation)

    def _place_faults(self, operation: str) -> Iterator[tuple[str, str]]:
        chain = self.match.listener.filter_chain if self.match.listener is not None else None
        found = chain.filter if chain is not None else None
        if operation != "INSERT_FIRST" and (found is None or not found.name):
            yield "match", f"{operation} needs the filter beside which it goes"


@record
class EnvoyFilterSpec(Record):
    workload_selector: LabelSelector | None = optional(obj(LabelSelector))
    target_refs: tuple[TargetRef, ...] = optional(list_of(TARGET_REF), ())
    config_patches: tuple[ConfigPatch, ...] = optional(list_of(obj(ConfigPatch)), ())
    priority: int = optional(integer(-(2**31), 2**31 - 1), 0)

    def check(self) -> Iterator[tuple[str, str]]:
        if self.workload_selector is not None and self.target_refs:
            yield "targetRefs", "and workloadSelector exclude each other"


@record
class EnvoyFilter(Object):
    API_VERSIONS = names("networking.istio.io/v1alpha3")
    spec: EnvoyFilterSpec = optional(obj(EnvoyFilterSpec), EnvoyFilterSpec())
