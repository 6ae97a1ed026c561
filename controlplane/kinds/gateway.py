"""Istio's Gateway: the ports, hosts and TLS settings of proxies at the edge of the mesh."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.kinds.decoders import (
    LABELS,
    PORT,
    boolean,
    enum,
    ip,
    list_of,
    matching,
    text,
)
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Record, notes, obj, optional, record, required
from controlplane.kinds.server_tls import ServerTlsSettings
from controlplane.kinds.service_entry import NETWORKING, PROTOCOLS

TLS_PROTOCOLS = ("HTTPS", "TLS")
FILES_NEEDED = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL")
Mode = Literal[
    "PASSTHROUGH", "SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL"
]
_MODE = enum(
    "PASSTHROUGH", "SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL"
)
_SERVER_HOST = matching(
    r"((\*|\.|[a-z0-9]([-a-z0-9]*[a-z0-9])?)/)?"
    r"(\*|(\*\.)?[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?)*\.?)",
    "a host name (a '*' only alone or as the first label), perhaps with namespace/",
    317,
)


@record
class GatewayPort(Record):
    NOTED = notes(targetPort="has no effect in Istio either; the proxy listens at the number")
    number: int = required(PORT)
    protocol: str = required(enum(*PROTOCOLS, fold_case=True))
    name: str = required(text)


@record
class ServerTls(ServerTlsSettings):
    https_redirect: bool = optional(boolean, False)
    mode: Mode = optional(_MODE, "PASSTHROUGH")
    credential_name: str = optional(text, "")
    credential_names: tuple[str, ...] = optional(list_of(text), ())
    ca_cert_credential_name: str = optional(text, "")

    @property
    def credentials(self) -> tuple[str, ...]:
        return self.credential_names or ((self.credential_name,) if self.credential_name else ())

    @property
    def asks_for_certificates(self) -> bool:
        return self.mode in ("MUTUAL", "OPTIONAL_MUTUAL")

    def check(self) -> Iterator[tuple[str, str]]:
        if self.credential_name and self.credential_names:
            yield "credentialNames", "expected only one of credentialName and credentialNames"
        if len(self.credential_names) > 2:
            yield "credentialNames", "expected at most two: one for RSA and one for ECDSA"
        if len(self.tls_certificates) > 2:
            yield "tlsCertificates", "expected at most two: one for RSA and one for ECDSA"
        if self.mode in FILES_NEEDED and not self.credentials:
            yield from self._file_faults()
        if self.mode == "ISTIO_MUTUAL" and (self._files() or self.credentials):
            yield "mode", "ISTIO_MUTUAL uses the mesh's certificates; name none"
        yield from ServerTlsSettings.check(self)

    def _files(self) -> bool:
        single = self.server_certificate or self.private_key or self.ca_certificates
        return bool(single or self.tls_certificates)

    def _file_faults(self) -> Iterator[tuple[str, str]]:
        if self.tls_certificates:
            return
        if not self.server_certificate:
            yield "serverCertificate", f"is required, or credentialName, when mode is {self.mode}"
        if not self.private_key:
            yield "privateKey", f"is required, or credentialName, when mode is {self.mode}"
        if self.asks_for_certificates and not (
            self.ca_certificates or self.ca_cert_credential_name
        ):
            yield "caCertificates", f"is required, or credentialName, when mode is {self.mode}"


@record
class Server(Record):
    NOTED = notes(defaultEndpoint="has no effect, as in Istio: VirtualServices say where it goes")
    port: GatewayPort = required(obj(GatewayPort))
    bind: str = optional(ip, "")
    hosts: tuple[str, ...] = required(list_of(_SERVER_HOST, 1))
    tls: ServerTls | None = optional(obj(ServerTls))
    name: str = optional(text, "")

    def check(self) -> Iterator[tuple[str, str]]:
        secured = self.port.protocol in TLS_PROTOCOLS
        if secured and self.tls is None:
            yield "tls", f"is required for the protocol {self.port.protocol}"
        if not secured and self.tls is not None:
            for key in sorted(self.tls.where.keys() - {"httpsRedirect", "mode"}):
                if "[" not in key and "." not in key:
                    yield "tls", f"{key} has no meaning for the protocol {self.port.protocol}"
            if self.tls.mode != "PASSTHROUGH":
                yield "tls.mode", f"has no meaning for the protocol {self.port.protocol}"


@record
class GatewaySpec(Record):
    servers: tuple[Server, ...] = required(list_of(obj(Server), 1))
    selector: Mapping[str, str] = optional(LABELS, {})

    def check(self) -> Iterator[tuple[str, str]]:
        seen: dict[str, int] = {}
        for index, server in enumerate(self.servers):
            if seen.setdefault(server.port.name, index) != index:
                message = f"the port name {server.port.name!r} is given twice"
                yield f"servers[{index}]", message


@record
class Gateway(Object):
    API_VERSIONS = NETWORKING
    spec: GatewaySpec = required(obj(GatewaySpec))
