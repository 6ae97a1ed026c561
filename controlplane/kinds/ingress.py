"""Kubernetes' Ingress and IngressClass (networking.k8s.io/v1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from controlplane.kinds.decoders import NAME, PORT, enum, list_of, matching, text
from controlplane.kinds.gateway_api.words import HOSTNAME_REGEX
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Record, names, obj, optional, record, required

_V1 = names("networking.k8s.io/v1")
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
DEFAULT_CLASS_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NOT_AT_ENDS = ("/..", "/.")
_HOST = matching(HOSTNAME_REGEX, "a host name in lower case, perhaps with '*.' in front")
_PORT_NAME = matching("[a-z0-9]([-a-z0-9]*[a-z0-9])?", "the name of a port", 15)

PathType = Literal["Exact", "Prefix", "ImplementationSpecific"]


@record
class BackendPort(Record):
    name: str = optional(_PORT_NAME, "")
    number: int | None = optional(PORT)

    def check(self) -> Iterator[tuple[str, str]]:
        if bool(self.name) == (self.number is not None):
            yield "", "needs either a name or a number"


@record
class ServiceBackend(Record):
    name: str = required(NAME)
    port: BackendPort = required(obj(BackendPort))


@record
class ResourceBackend(Record):
    api_group: str = optional(text, "")
    kind: str = required(text)
    name: str = required(text)


@record
class IngressBackend(Record):
    service: ServiceBackend | None = optional(obj(ServiceBackend))
    resource: ResourceBackend | None = optional(obj(ResourceBackend))

    def check(self) -> Iterator[tuple[str, str]]:
        if (self.service is None) == (self.resource is None):
            yield "", "needs either a service or a resource"


@record
class IngressPath(Record):
    """path '' is every path."""

    path: str = optional(text, "")
    path_type: PathType = required(enum("Exact", "Prefix", "ImplementationSpecific"))
    backend: IngressBackend = required(obj(IngressBackend))

    def check(self) -> Iterator[tuple[str, str]]:
        exactly = self.path_type != "ImplementationSpecific"
        if (self.path or exactly) and not self.path.startswith("/"):
            yield "path", f"expected a path that begins with '/', got {self.path!r}"
        for mark in _NOT_IN_PATHS if exactly else ():
            if mark in self.path:
                yield "path", f"must not contain {mark!r}"
        for mark in _NOT_AT_ENDS if exactly else ():
            if self.path.endswith(mark):
                yield "path", f"must not end with {mark!r}"


@record
class HttpPaths(Record):
    paths: tuple[IngressPath, ...] = required(list_of(obj(IngressPath), 1))


@record
class IngressRule(Record):
    host: str = optional(_HOST, "")
    http: HttpPaths | None = optional(obj(HttpPaths))


@record
class IngressTls(Record):
    """secret_name '': the controller's own certificate."""

    hosts: tuple[str, ...] = optional(list_of(_HOST), ())
    secret_name: str = optional(NAME, "")


@record
class IngressSpec(Record):
    ingress_class_name: str | None = optional(NAME)
    default_backend: IngressBackend | None = optional(obj(IngressBackend))
    tls: tuple[IngressTls, ...] = optional(list_of(obj(IngressTls)), ())
    rules: tuple[IngressRule, ...] = optional(list_of(obj(IngressRule)), ())

    def check(self) -> Iterator[tuple[str, str]]:
        if self.default_backend is None and not self.rules:
            yield "", "needs a defaultBackend or rules"


@record
class Ingress(Object):
    API_VERSIONS = _V1
    spec: IngressSpec = required(obj(IngressSpec))


# --------------------------------------------------------------------------- IngressClass


@record
class ClassParameters(Record):
    api_group: str = optional(text, "")
    kind: str = required(text)
    name: str = required(text)
    namespace: str = optional(NAME, "")
    scope: Literal["Cluster", "Namespace"] = optional(enum("Cluster", "Namespace"), "Cluster")

    def check(self) -> Iterator[tuple[str, str]]:
        if (self.scope == "Namespace") != bool(self.namespace):
            yield "namespace", "is required when scope is Namespace, and only then"


@record
class IngressClassSpec(Record):
    controller: str = required(
        matching(r"[a-z0-9.-]+(/[A-Za-z0-9/._~%!$&'()*+,;=:-]+)?", "a name with a domain", 250)
    )
    parameters: ClassParameters | None = optional(obj(ClassParameters))


@record
class IngressClass(Object):
    API_VERSIONS = _V1
    spec: IngressClassSpec = required(obj(IngressClassSpec))
