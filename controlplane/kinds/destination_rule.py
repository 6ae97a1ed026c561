"""Istio's DestinationRule: how to talk to a service, and its subsets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.kinds.connection_pool import ConnectionPool, OutlierDetection, RetryBudget
from controlplane.kinds.decoders import (
    HOST,
    LABELS,
    NAME,
    PORT,
    address,
    boolean,
    enum,
    label,
    line,
    list_of,
    matching,
    text,
)
from controlplane.kinds.export_to import PRIVATE, export_faults
from controlplane.kinds.load_balancer import LoadBalancer
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Place, Record, obj, optional, record, required
from controlplane.kinds.selectors import SELECTOR, WorkloadSelector
from controlplane.kinds.service_entry import NETWORKING
from controlplane.kinds.yaml_nodes import Node

SYSTEM_ROOTS = "system"
"""As caCertificates: what the proxy's system trusts (Istio), by a word."""


def _credential(node: Node, place: Place) -> str:
    """The name of a Secret in the namespace of who uses it."""
    value = text(node, place)
    return value and NAME(node, place)


@record
class ClientTls(Record):
    """Files are the proxy's, by name. ca_certificates '' and 'system' are what its system trusts.
    credential_name: a Secret in place of the files."""

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = optional(
        enum("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"), "DISABLE"
    )
    sni: str = optional(matching(r"[^\0\r\n]*", "at most 255 characters", 255), "")
    subject_alt_names: tuple[str, ...] = optional(list_of(text), ())
    ca_certificates: str = optional(line, "")
    ca_crl: str = optional(line, "")
    client_certificate: str = optional(line, "")
    private_key: str = optional(line, "")
    credential_name: str = optional(_credential, "")
    insecure_skip_verify: bool = optional(boolean, False)

    def check(self) -> Iterator[tuple[str, str]]:
        """Istio's rules: files are for SIMPLE and MUTUAL, a certificate of one's own for MUTUAL."""
        own = {"clientCertificate": self.client_certificate, "privateKey": self.private_key}
        theirs = {"caCertificates": self.ca_certificates, "caCrl": self.ca_crl}
        if self.credential_name:
            yield from self._beside_credential({**own, **theirs})
            return
        for name, value in own.items():
            if self.mode == "MUTUAL" and not value:
                yield name, "mode MUTUAL needs it, or credentialName"
            elif self.mode != "MUTUAL" and value:
                yield name, f"mode {self.mode} has no use for it, only MUTUAL"
        for name, value in theirs.items():
            if value and self.mode not in ("SIMPLE", "MUTUAL"):
                yield name, f"mode {self.mode} has no use for it, only SIMPLE and MUTUAL"
            elif value and self.insecure_skip_verify:
                yield name, "insecureSkipVerify has no use for it"
        if self.insecure_skip_verify and self.mode not in ("SIMPLE", "MUTUAL"):
            yield "insecureSkipVerify", f"mode {self.mode} always verifies"

    def _beside_credential(self, files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        if self.mode not in ("SIMPLE", "MUTUAL"):
            yield "credentialName", f"mode {self.mode} has no use for it, only SIMPLE and MUTUAL"
        elif self.mode == "SIMPLE" and self.insecure_skip_verify:
            yield "insecureSkipVerify", "nothing of the Secret is left to be used"
        for name, value in files.items():
            if value:
                yield name, "credentialName stands in its place: only one of both"


@record
class PortNumber(Record):
    number: int = required(PORT)


@record
class PortPolicy(Record):
    port: PortNumber = required(obj(PortNumber))
    load_balancer: LoadBalancer | None = optional(obj(LoadBalancer))
    connection_pool: ConnectionPool | None = optional(obj(ConnectionPool))
    outlier_detection: OutlierDetection | None = optional(obj(OutlierDetection))
    tls: ClientTls | None = optional(obj(ClientTls))

    def check(self) -> Iterator[tuple[str, str]]:
        if self.where.keys() <= {"port", "port.number"}:
            yield "", "needs at least one setting"


@record
class ProxyProtocol(Record):
    version: Literal["V1", "V2"] = optional(enum("V1", "V2"), "V1")


@record
class TunnelSettings(Record):
    protocol: Literal["CONNECT", "POST"] = optional(enum("CONNECT", "POST"), "CONNECT")
    target_host: str = required(address)
    target_port: int = required(PORT)


@record
class TrafficPolicy(Record):
    """None: not set here; a subset then takes the service's, but for a tunnel."""

    load_balancer: LoadBalancer | None = optional(obj(LoadBalancer))
    connection_pool: ConnectionPool | None = optional(obj(ConnectionPool))
    outlier_detection: OutlierDetection | None = optional(obj(OutlierDetection))
    tls: ClientTls | None = optional(obj(ClientTls))
    proxy_protocol: ProxyProtocol | None = optional(obj(ProxyProtocol))
    retry_budget: RetryBudget | None = optional(obj(RetryBudget))
    tunnel: TunnelSettings | None = optional(obj(TunnelSettings))
    port_level_settings: tuple[PortPolicy, ...] = optional(list_of(obj(PortPolicy)), ())

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.where:
            yield "", "needs at least one setting"
        numbers = [item.port.number for item in self.port_level_settings]
        for index, number in enumerate(numbers):
            if number in numbers[:index]:
                yield f"portLevelSettings[{index}]", f"the port {number} is given twice"


@record
class Subset(Record):
    name: str = required(label)
    labels: Mapping[str, str] = optional(LABELS, {})
    traffic_policy: TrafficPolicy | None = optional(obj(TrafficPolicy))


@record
class DestinationRuleSpec(Record):
    host: str = required(HOST)
    workload_selector: WorkloadSelector | None = optional(SELECTOR)
    traffic_policy: TrafficPolicy | None = optional(obj(TrafficPolicy))
    subsets: tuple[Subset, ...] = optional(list_of(obj(Subset)), ())
    export_to: tuple[str, ...] = optional(list_of(text), ())

    def check(self) -> Iterator[tuple[str, str]]:
        yield from export_faults(self.export_to)
        if self.workload_selector is not None and set(self.export_to) - {PRIVATE}:
            yield "exportTo", "with a workloadSelector only '.' (its own namespace) makes sense"
        seen: set[str] = set()
        for index, subset in enumerate(self.subsets):
            if subset.name in seen:
                yield f"subsets[{index}]", f"the subset {subset.name!r} is given twice"
            seen.add(subset.name)


@record
class DestinationRule(Object):
    API_VERSIONS = NETWORKING
    spec: DestinationRuleSpec = required(obj(DestinationRuleSpec))
