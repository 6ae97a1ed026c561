"""Gateway API's ReferenceGrant and BackendTLSPolicy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.kinds.decoders import enum
from controlplane.kinds.gateway_api.references import LocalReference
from controlplane.kinds.gateway_api.words import (
    ABSOLUTE_URI,
    API_GROUP,
    API_KIND,
    GROUP,
    HOSTNAME,
    NAMESPACE,
    OBJECT_NAME,
    OPTIONS,
    PRECISE_HOSTNAME,
    SECTION,
    STABLE,
    WELL_KNOWN_ROOTS,
    items,
)
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Record, names, obj, optional, record, required

# --------------------------------------------------------------------------- ReferenceGrant


@record
class GrantFrom(Record):
    group: str = required(API_GROUP)
    kind: str = required(API_KIND)
    namespace: str = required(NAMESPACE)


@record
class GrantTo(Record):
    """name '': every object of the kind."""

    group: str = required(API_GROUP)
    kind: str = required(API_KIND)
    name: str = optional(OBJECT_NAME, "")


@record
class ReferenceGrantSpec(Record):
    sources: tuple[GrantFrom, ...] = required(items(obj(GrantFrom), 16, 1), key="from")
    targets: tuple[GrantTo, ...] = required(items(obj(GrantTo), 16, 1), key="to")


@record
class ReferenceGrant(Object):
    API_VERSIONS = STABLE | names(f"{GROUP}/v1alpha2")
    spec: ReferenceGrantSpec = required(obj(ReferenceGrantSpec))


# --------------------------------------------------------------------------- BackendTLSPolicy


@record
class PolicyTarget(Record):
    group: str = required(API_GROUP)
    kind: str = required(API_KIND)
    name: str = required(OBJECT_NAME)
    section_name: str = optional(SECTION, "")


@record
class SubjectAltName(Record):
    type: Literal["Hostname", "URI"] = required(enum("Hostname", "URI"))
    hostname: str = optional(HOSTNAME, "")
    uri: str = optional(ABSOLUTE_URI, "")

    def check(self) -> Iterator[tuple[str, str]]:
        for kind, key, value in (("Hostname", "hostname", self.hostname), ("URI", "uri", self.uri)):
            if kind == self.type and not value:
                yield key, f"is required when type is {kind}"
            if kind != self.type and value:
                yield key, f"must not be given when type is {self.type}"


@record
class BackendValidation(Record):
    hostname: str = required(PRECISE_HOSTNAME)
    ca_certificate_refs: tuple[LocalReference, ...] = optional(items(obj(LocalReference), 8), ())
    well_known_ca_certificates: str = optional(WELL_KNOWN_ROOTS, "", key="wellKnownCACertificates")
    subject_alt_names: tuple[SubjectAltName, ...] = optional(items(obj(SubjectAltName), 5), ())

    def check(self) -> Iterator[tuple[str, str]]:
        if bool(self.ca_certificate_refs) == bool(self.well_known_ca_certificates):
            yield "", "needs either caCertificateRefs or wellKnownCACertificates"


@record
class BackendTLSPolicySpec(Record):
    target_refs: tuple[PolicyTarget, ...] = required(items(obj(PolicyTarget), 16, 1))
    validation: BackendValidation = required(obj(BackendValidation))
    options: Mapping[str, str] = optional(OPTIONS, {})

    def check(self) -> Iterator[tuple[str, str]]:
        seen: dict[tuple[str, str, str], set[str]] = {}
        for index, target in enumerate(self.target_refs):
            sections = seen.setdefault((target.group, target.kind, target.name), set())
            if target.section_name in sections:
                yield f"targetRefs[{index}]", f"the target {target.name!r} is given twice"
            elif sections and ("" in sections or not target.section_name):
                message = f"sectionName must be given in every reference to {target.name!r}"
                yield f"targetRefs[{index}]", message
            sections.add(target.section_name)


@record
class BackendTLSPolicy(Object):
    API_VERSIONS = names(f"{GROUP}/v1 {GROUP}/v1alpha3")
    spec: BackendTLSPolicySpec = required(obj(BackendTLSPolicySpec))
