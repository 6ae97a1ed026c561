"""Istio's AuthorizationPolicy: who may ask a workload for what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from controlplane.kinds.attributes import (
    PORT_TEXT,
    cidr,
    condition_fault,
    path,
    service_account,
)
from controlplane.kinds.decoders import enum, list_of
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import (
    Decoder,
    Record,
    names,
    obj,
    optional,
    plan_of,
    record,
    required,
)
from controlplane.kinds.selectors import (
    SECURITY,
    SELECTOR,
    TARGET_REF,
    TargetRef,
    WorkloadSelector,
    named,
    one_way_of_choosing,
)

Action = Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"]
Values = tuple[str, ...]
DRY_RUN = "istio.io/dry-run"
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))
_NOT_FOR_CUSTOM = names(
    "principals notPrincipals namespaces notNamespaces serviceAccounts notServiceAccounts "
    "requestPrincipals notRequestPrincipals trustDomains notTrustDomains"
)
_KEY_NOT_FOR_CUSTOM = re.compile(r"source\.(namespace|serviceAccount|principal)$|request\.auth\.")


def _values(decode: Decoder[str] = named) -> Values:
    return optional(list_of(decode), ())


def given(item: Record) -> frozenset[str]:
    """The YAML names of the lists that are not empty."""
    fields = plan_of(type(item)).fields
    return frozenset(key for key, (name, _) in fields.items() if getattr(item, name))


@record
class Source(Record):
    principals: Values = _values()
    not_principals: Values = _values()
    request_principals: Values = _values()
    not_request_principals: Values = _values()
    namespaces: Values = _values()
    not_namespaces: Values = _values()
    service_accounts: Values = _values(service_account)
    not_service_accounts: Values = _values(service_account)
    trust_domains: Values = _values()
    not_trust_domains: Values = _values()
    ip_blocks: Values = _values(cidr)
    not_ip_blocks: Values = _values(cidr)
    remote_ip_blocks: Values = _values(cidr)
    not_remote_ip_blocks: Values = _values(cidr)

    def check(self) -> Iterator[tuple[str, str]]:
        if not given(self):
            yield "", "must not be empty; leave `from` out if everybody is meant"
        accounts = self.service_accounts + self.not_service_accounts
        others = self.principals + self.not_principals + self.namespaces + self.not_namespaces
        if accounts and others:
            yield "serviceAccounts", "can not stand beside principals or namespaces"


@record
class Operation(Record):
    hosts: Values = _values()
    not_hosts: Values = _values()
    ports: Values = _values(PORT_TEXT)
    not_ports: Values = _values(PORT_TEXT)
    methods: Values = _values()
    not_methods: Values = _values()
    paths: Values = _values(path)
    not_paths: Values = _values(path)

    def check(self) -> Iterator[tuple[str, str]]:
        if not given(self):
            yield "", "must not be empty; leave `to` out if every request is meant"


@record
class Condition(Record):
    key: str = required(named)
    values: Values = _values()
    not_values: Values = _values()

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.values and not self.not_values:
            yield "", f"needs values or notValues for {self.key}"
        for field, values in (("values", self.values), ("notValues", self.not_values)):
            for index, value in enumerate(values or ("",)):
                if fault := condition_fault(self.key, value):
                    about_key = fault.startswith("the key")
                    yield "key" if about_key else f"{field}[{index}]", fault
                    if about_key:
                        return


@record
class From(Record):
    source: Source = required(obj(Source))


@record
class To(Record):
    operation: Operation = required(obj(Operation))


@record
class Rule(Record):
    from_: tuple[From, ...] = optional(list_of(obj(From), 1), (), key="from")
    to: tuple[To, ...] = optional(list_of(obj(To), 1), ())
    when: tuple[Condition, ...] = optional(list_of(obj(Condition)), ())


@record
class Provider(Record):
    """name: an extensionProvider of the MeshConfig."""

    name: str = required(named)


@record
class AuthorizationPolicySpec(Record):
    selector: WorkloadSelector | None = optional(SELECTOR)
    target_ref: TargetRef | None = optional(TARGET_REF)
    target_refs: tuple[TargetRef, ...] = optional(list_of(TARGET_REF), ())
    rules: tuple[Rule, ...] = optional(list_of(obj(Rule)), ())
    action: Action = optional(enum("ALLOW", "DENY", "AUDIT", "CUSTOM"), "ALLOW")
    provider: Provider | None = optional(obj(Provider))

    def check(self) -> Iterator[tuple[str, str]]:
        yield from one_way_of_choosing(self)
        if self.action in ("DENY", "CUSTOM") and not self.rules:
            yield "rules", f"{self.action} without a rule has no effect; '- {{}}' takes everything"
        if (self.provider is not None) != (self.action == "CUSTOM"):
            needs = "needs" if self.action == "CUSTOM" else "takes no"
            yield "provider", f"the action {self.action} {needs} provider"
        if self.action == "CUSTOM":
            yield from self._beyond_custom()

    def _beyond_custom(self) -> Iterator[tuple[str, str]]:
        """Istio: CUSTOM is decided before it is known who asks."""
        for index, rule in enumerate(self.rules):
            where = f"rules[{index}]"
            for item in rule.from_:
                for field in sorted(_NOT_FOR_CUSTOM & given(item.source)):
                    yield where, f"source.{field} is not supported with the action CUSTOM"
            for condition in rule.when:
                if _KEY_NOT_FOR_CUSTOM.match(condition.key):
                    yield where, f"{condition.key} is not supported with the action CUSTOM"


@record
class AuthorizationPolicy(Object):
    API_VERSIONS = SECURITY
    spec: AuthorizationPolicySpec = optional(
        obj(AuthorizationPolicySpec), AuthorizationPolicySpec()
    )

    @property
    def dry_run(self) -> bool:
        return self.metadata.annotations.get(DRY_RUN, "") in _TRUE

    def check(self) -> Iterator[tuple[str, str]]:
        value = self.metadata.annotations.get(DRY_RUN, "false")
        if value not in _TRUE | _FALSE:
            yield "metadata", f'annotation {DRY_RUN}: expected "true" or "false", got {value!r}'
        if self.dry_run and self.spec.action not in ("ALLOW", "DENY"):
            message = (
                f"annotation {DRY_RUN}: only ALLOW and DENY can run dry, not {self.spec.action}"
            )
            yield "metadata", message
