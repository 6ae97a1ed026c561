"""GatewayClass, Gateway and ListenerSet: where traffic comes in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from controlplane.kinds.decoders import LABELS as ANY_LABELS
from controlplane.kinds.decoders import PORT, enum, list_of, text
from controlplane.kinds.gateway_api.references import (
    SCOPE,
    LocalReference,
    ObjectReference,
    Scope,
    SecretReference,
)
from controlplane.kinds.gateway_api.words import (
    ADDRESS_TYPE,
    ANNOTATIONS,
    API_GROUP,
    API_KIND,
    CONTROLLER,
    GROUP,
    HOSTNAME,
    HOSTNAME_REGEX,
    LABELS,
    NAMESPACE,
    OBJECT_NAME,
    OPTIONS,
    PROTOCOL,
    SECTION,
    STABLE,
    bounded,
    items,
)
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Record, names, obj, optional, record, required
from controlplane.mesh.ip import is_ip

_PLAIN = ("HTTP", "TCP", "UDP")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


# --------------------------------------------------------------------------- selectors


@record
class Requirement(Record):
    """The CRDs let any operator through; `fault` says what is wrong with it."""

    key: str = required(text)
    operator: str = required(text)
    values: tuple[str, ...] = optional(list_of(text), ())

    @property
    def fault(self) -> str:
        if self.operator not in _OPERATORS:
            return f"no operator {self.operator!r}; these are: {', '.join(_OPERATORS)}"
        if self.operator in ("In", "NotIn") and not self.values:
            return f"{self.operator} needs values"
        if self.operator in ("Exists", "DoesNotExist") and self.values:
            return f"{self.operator} takes no values"
        return ""

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Kubernetes' rule: NotIn takes an object without the label, too."""
        if self.fault:
            return False
        if self.operator in ("In", "Exists"):
            there = self.key in labels
            return there and (self.operator == "Exists" or labels[self.key] in self.values)
        return self.key not in labels or (
            self.operator == "NotIn" and labels[self.key] not in self.values
        )


@record
class LabelSelector(Record):
    match_labels: Mapping[str, str] = optional(ANY_LABELS, {})
    match_expressions: tuple[Requirement, ...] = optional(list_of(obj(Requirement)), ())

    def takes(self, labels: Mapping[str, str]) -> bool:
        return self.match_labels.items() <= labels.items() and all(
            one.takes(labels) for one in self.match_expressions
        )


@record
class Namespaces(Record):
    """Which namespaces' routes, or ListenerSets, may be attached."""

    source: Literal["All", "Selector", "Same", "None"] = optional(
        enum("All", "Selector", "Same", "None"), "Same", key="from"
    )
    selector: LabelSelector | None = optional(obj(LabelSelector))

    @property
    def fault(self) -> str:
        """Why it can't be told whom it takes."""
        if self.source != "Selector":
            return ""
        if self.selector is None:
            return "from: Selector needs a selector"
        faults = (one.fault for one in self.selector.match_expressions)
        return next((fault for fault in faults if fault), "")


# --------------------------------------------------------------------------- listeners


@record
class RouteGroupKind(Record):
    group: str = optional(API_GROUP, GROUP)
    kind: str = required(API_KIND)


@record
class AllowedRoutes(Record):
    namespaces: Namespaces = optional(obj(Namespaces), Namespaces())
    kinds: tuple[RouteGroupKind, ...] = optional(items(obj(RouteGroupKind), 8), ())

    def check(self) -> Iterator[tuple[str, str]]:
        if self.namespaces.source == "None":
            yield "namespaces.from", "expected one of All, Selector, Same, got 'None'"


@record
class ListenerTls(Record):
    mode: Literal["Terminate", "Passthrough"] = optional(
        enum("Terminate", "Passthrough"), "Terminate"
    )
    certificate_refs: tuple[SecretReference, ...] = optional(items(obj(SecretReference), 64), ())
    options: Mapping[str, str] = optional(OPTIONS, {})

    def check(self) -> Iterator[tuple[str, str]]:
        if self.mode == "Terminate" and not self.certificate_refs and not self.options:
            yield "", "needs certificateRefs or options when mode is Terminate"


@record
class Listener(Record):
    """protocol: HTTP, HTTPS, TLS, TCP, UDP; another one may be valid and yet not supported."""

    name: str = required(SECTION)
    hostname: str = optional(HOSTNAME, "")
    port: int = required(PORT)
    protocol: str = required(PROTOCOL)
    tls: ListenerTls | None = optional(obj(ListenerTls))
    allowed_routes: AllowedRoutes = optional(obj(AllowedRoutes), AllowedRoutes())

    def check(self) -> Iterator[tuple[str, str]]:
        if self.tls is not None and self.protocol in _PLAIN:
            yield "tls", f"must not be given for the protocol {self.protocol}"
        if self.protocol == "HTTPS" and self.tls is not None and self.tls.mode != "Terminate":
            yield "tls.mode", "must be Terminate for the protocol HTTPS"
        if self.protocol == "TLS" and self.tls is None:
            yield "tls", "is required for the protocol TLS"
        if self.protocol in ("TCP", "UDP") and self.hostname:
            yield "hostname", f"must not be given for the protocol {self.protocol}"


def _same_place(listeners: Sequence[Listener]) -> Iterator[tuple[str, str]]:
    seen: set[tuple[int, str, str]] = set()
    for index, listener in enumerate(listeners):
        place = (listener.port, listener.protocol, listener.hostname)
        if place in seen:
            message = "the same port, protocol and hostname as a listener before it"
            yield f"listeners[{index}]", message
        seen.add(place)


def _name_of(listener: Listener) -> str:
    return listener.name


LISTENERS = items(obj(Listener), 64, 1, unique=_name_of)


# --------------------------------------------------------------------------- Gateway


@record
class Address(Record):
    type: str = optional(ADDRESS_TYPE, "IPAddress")
    value: str = optional(bounded(253), "")

    def check(self) -> Iterator[tuple[str, str]]:
        if self.type == "IPAddress" and self.value and not is_ip(self.value):
            yield "value", f"expected an IP address, got {self.value!r}"
        if self.type == "Hostname" and self.value and not re.fullmatch(HOSTNAME_REGEX, self.value):
            yield "value", f"expected a host name in lower case, got {self.value!r}"


@record
class Validation(Record):
    ca_certificate_refs: tuple[ObjectReference, ...] = required(items(obj(ObjectReference), 16, 1))
    mode: Literal["AllowValidOnly", "AllowInsecureFallback"] = optional(
        enum("AllowValidOnly", "AllowInsecureFallback"), "AllowValidOnly"
    )


@record
class FrontendTls(Record):
    validation: Validation | None = optional(obj(Validation))


@record
class PortTls(Record):
    port: int = required(PORT)
    tls: FrontendTls = required(obj(FrontendTls))


def _port_of(entry: PortTls) -> int:
    return entry.port


@record
class Frontend(Record):
    default: FrontendTls = required(obj(FrontendTls))
    per_port: tuple[PortTls, ...] = optional(items(obj(PortTls), 64, unique=_port_of), ())

    def of(self, port: int) -> Validation | None:
        """Who is asked for a certificate, and how it is judged, on a port."""
        own = next((entry.tls for entry in self.per_port if entry.port == port), self.default)
        return own.validation


@record
class BackendTls(Record):
    client_certificate_ref: SecretReference | None = optional(obj(SecretReference))


@record
class GatewayTls(Record):
    frontend: Frontend | None = optional(obj(Frontend))
    backend: BackendTls | None = optional(obj(BackendTls))


@record
class Infrastructure(Record):
    labels: Mapping[str, str] = optional(LABELS, {})
    annotations: Mapping[str, str] = optional(ANNOTATIONS, {})
    parameters_ref: LocalReference | None = optional(obj(LocalReference))


@record
class AllowedListeners(Record):
    namespaces: Namespaces = optional(obj(Namespaces), Namespaces(source="None"))


@record
class GatewaySpec(Record):
    gateway_class_name: str = required(OBJECT_NAME)
    listeners: tuple[Listener, ...] = required(LISTENERS)
    addresses: tuple[Address, ...] = optional(items(obj(Address), 16), ())
    infrastructure: Infrastructure = optional(obj(Infrastructure), Infrastructure())
    allowed_listeners: AllowedListeners = optional(obj(AllowedListeners), AllowedListeners())
    default_scope: Scope = optional(SCOPE, "")
    tls: GatewayTls = optional(obj(GatewayTls), GatewayTls())

    def check(self) -> Iterator[tuple[str, str]]:
        yield from _same_place(self.listeners)
        seen: set[tuple[str, str]] = set()
        for index, address in enumerate(self.addresses):
            named = (address.type, address.value)
            if address.type in ("IPAddress", "Hostname") and address.value and named in seen:
                yield f"addresses[{index}]", f"{address.value!r} is given twice"
            seen.add(named)


@record
class Gateway(Object):
    API_VERSIONS = STABLE
    KIND = f"Gateway.{GROUP}"
    spec: GatewaySpec = required(obj(GatewaySpec))


# --------------------------------------------------------------------------- ListenerSet


@record
class ParentGateway(Record):
    group: str = optional(API_GROUP, GROUP)
    kind: str = optional(API_KIND, "Gateway")
    name: str = required(OBJECT_NAME)
    namespace: str = optional(NAMESPACE, "")


@record
class ListenerSetSpec(Record):
    parent_ref: ParentGateway = required(obj(ParentGateway))
    listeners: tuple[Listener, ...] = required(LISTENERS)

    def check(self) -> Iterator[tuple[str, str]]:
        yield from _same_place(self.listeners)


@record
class ListenerSet(Object):
    API_VERSIONS = names(f"{GROUP}/v1")
    spec: ListenerSetSpec = required(obj(ListenerSetSpec))


# --------------------------------------------------------------------------- GatewayClass


@record
class GatewayClassSpec(Record):
    controller_name: str = required(CONTROLLER)
    parameters_ref: ObjectReference | None = optional(obj(ObjectReference))
    description: str = optional(bounded(64), "")


@record
class GatewayClass(Object):
    API_VERSIONS = STABLE
    spec: GatewayClassSpec = required(obj(GatewayClassSpec))
