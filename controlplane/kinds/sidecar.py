"""Istio's Sidecar: what the sidecars of some workloads know of the mesh, and where they listen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from controlplane.kinds.connection_pool import ConnectionPool
from controlplane.kinds.decoders import (
    DNS_LABEL,
    enum,
    integer,
    ip,
    list_of,
    optional_label,
    text,
)
from controlplane.kinds.http_destination import Destination
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import (
    Place,
    Record,
    names,
    notes,
    obj,
    optional,
    record,
    required,
)
from controlplane.kinds.server_tls import ServerTlsSettings
from controlplane.kinds.service_entry import NETWORKING, PROTOCOLS, UNIX, LabelSelector
from controlplane.kinds.yaml_nodes import Node

_LOOPBACK = frozenset(("", "127.0.0.1", "0.0.0.0", "::1", "::"))
_HOST = r"\*|(\*\.)?[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?"
_HOSTS = re.compile(rf"(?:\*|\.|~|~?{DNS_LABEL})/(?:{_HOST})")
_TLS_PORTS = frozenset(("HTTPS", "TLS"))
CAPTURE = enum("DEFAULT", "IPTABLES", "NONE")


def _egress_host(node: Node, place: Place) -> str:
    """'namespace/host'; either may be '*', and '~namespace' takes a namespace away again."""
    value = text(node, place)
    if not _HOSTS.fullmatch(value):
        raise place.refuse(node, "namespace/host, such as ./*, */api.example.com or shop/*.local")
    return value


def _bind(node: Node, place: Place) -> str:
    value = text(node, place)
    return value if value.startswith(UNIX) else ip(node, place)


def _protocol(node: Node, place: Place) -> str:
    return text(node, place) and enum(*PROTOCOLS, "HTTP1", fold_case=True)(node, place)


@record
class SidecarPort(Record):
    NOTED = notes(targetPort="has no effect, as in Istio: defaultEndpoint says where it goes")
    number: int = optional(integer(0, 65535), 0)
    protocol: str = optional(_protocol, "")
    name: str = optional(optional_label, "")


@record
class IngressTls(ServerTlsSettings):
    """Istio's ServerTLSSettings, as far as a sidecar may have them."""

    UNSUPPORTED = names(
        "caCertCredentialName credentialName credentialNames httpsRedirect insecureSkipVerify"
    )
    mode: Literal["SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "PASSTHROUGH"] = optional(
        enum("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "PASSTHROUGH"), "PASSTHROUGH"
    )

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """Certificates and keys."""
        several = ((one.server_certificate, one.private_key) for one in self.tls_certificates)
        return tuple(several) or ((self.server_certificate, self.private_key),)

    def check(self) -> Iterator[tuple[str, str]]:
        yield from ServerTlsSettings.check(self)
        files: dict[str, str] = {}
        if not self.tls_certificates:
            files = {"serverCertificate": self.server_certificate, "privateKey": self.private_key}
        if self.mode.endswith("MUTUAL"):
            files["caCertificates"] = self.ca_certificates
        for key, value in files.items() if self.mode != "PASSTHROUGH" else ():
            if not value:
                yield key, f"mode {self.mode} needs it"
        if self.ca_crl and self.mode == "SIMPLE":
            yield "caCrl", "mode SIMPLE asks for no certificate"


@record
class Ingress(Record):
    port: SidecarPort = required(obj(SidecarPort))
    bind: str = optional(ip, "")
    capture_mode: Literal["DEFAULT", "IPTABLES", "NONE"] = optional(CAPTURE, "DEFAULT")
    default_endpoint: str = optional(text, "")
    tls: IngressTls | None = optional(obj(IngressTls))
    connection_pool: ConnectionPool | None = optional(obj(ConnectionPool))

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.port.number:
            yield "port", "needs a number"
        if self.tls is not None and self.port.protocol not in _TLS_PORTS:
            yield "tls", "is for HTTPS and TLS ports"
        if self.default_endpoint and not self.default_endpoint.startswith(UNIX):
            host, colon, port = self.default_endpoint.rpartition(":")
            number = int(port) if port.isdecimal() and len(port) < 6 else 0
            if not colon or host.strip("[]") not in _LOOPBACK or not 1 <= number <= 65535:
                yield "defaultEndpoint", "expected 127.0.0.1:PORT, [::1]:PORT, :PORT or unix://PATH"


@record
class Egress(Record):
    port: SidecarPort | None = optional(obj(SidecarPort))
    bind: str = optional(_bind, "")
    capture_mode: Literal["DEFAULT", "IPTABLES", "NONE"] = optional(CAPTURE, "DEFAULT")
    hosts: tuple[str, ...] = required(list_of(_egress_host, 1))

    def check(self) -> Iterator[tuple[str, str]]:
        if self.port is not None and not self.port.number and not self.bind.startswith(UNIX):
            yield "port", "needs a number, or bind a unix socket"
        if self.port is not None and self.port.number and self.bind.startswith(UNIX):
            yield "bind", "a unix socket has no port; leave the number out"
        if self.bind.startswith(UNIX) and self.capture_mode == "IPTABLES":
            yield "captureMode", "nothing is captured for a unix socket"


@record
class OutboundTrafficPolicy(Record):
    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = optional(
        enum("REGISTRY_ONLY", "ALLOW_ANY"), "REGISTRY_ONLY"
    )
    egress_proxy: Destination | None = optional(obj(Destination))

    def check(self) -> Iterator[tuple[str, str]]:
        if self.egress_proxy is not None:
            if self.mode != "ALLOW_ANY":
                yield "egressProxy", "needs mode ALLOW_ANY"
            if self.egress_proxy.port is None:
                yield "egressProxy", "needs a port"


@record
class SidecarSpec(Record):
    workload_selector: LabelSelector | None = optional(obj(LabelSelector))
    ingress: tuple[Ingress, ...] = optional(list_of(obj(Ingress)), ())
    egress: tuple[Egress, ...] = optional(list_of(obj(Egress)), ())
    inbound_connection_pool: ConnectionPool | None = optional(obj(ConnectionPool))
    outbound_traffic_policy: OutboundTrafficPolicy | None = optional(obj(OutboundTrafficPolicy))

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.where.keys() - {"workloadSelector", "workloadSelector.labels"}:
            yield "", "needs ingress, egress, inboundConnectionPool or outboundTrafficPolicy"
        taken = [item.port.number for item in self.ingress]
        for index, number in enumerate(taken):
            if number in taken[:index]:
                yield f"ingress[{index}]", f"the port {number} is given twice"
        yield from self._egress_faults()

    def _egress_faults(self) -> Iterator[tuple[str, str]]:
        """One listener for each port or socket; the one for all the rest is the last."""
        seen: set[object] = set()
        for index, item in enumerate(self.egress):
            where = f"egress[{index}]"
            if item.port is None:
                if index < len(self.egress) - 1:
                    yield where, "without a port it must be the last"
                continue
            place = item.port.number or item.bind
            if place in seen:
                yield where, f"{place} is given twice"
            seen.add(place)


@record
class Sidecar(Object):
    API_VERSIONS = NETWORKING
    spec: SidecarSpec = required(obj(SidecarSpec))
