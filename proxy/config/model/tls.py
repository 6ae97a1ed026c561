"""TLS contexts and secrets (`extensions.transport_sockets.tls.v3`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from proxy.config.model.common import StringMatcher


@dataclass(frozen=True, slots=True)
class DataSource:
    """Bytes that were inline or read from a file when decoded. `origin` is for messages only."""

    data: bytes = field(repr=False)
    origin: str = "inline"


@dataclass(frozen=True, slots=True)
class TlsCertificate:
    chain: DataSource
    private_key: DataSource = field(repr=False)
    password: DataSource | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SanMatcher:
    """`SubjectAltNameMatcher`: san_type is URI, DNS, EMAIL or IP_ADDRESS."""

    san_type: Literal["URI", "DNS", "EMAIL", "IP_ADDRESS"]
    matcher: StringMatcher


@dataclass(frozen=True, slots=True)
class ValidationContext:
    """`CertificateValidationContext`. `trusted_ca` None: the peer's chain is not verified."""

    trusted_ca: DataSource | None = None
    match_sans: tuple[SanMatcher, ...] = ()


@dataclass(frozen=True, slots=True)
class Secret:
    """An SDS resource: exactly one of the two is set."""

    name: str
    certificate: TlsCertificate | None = None
    validation: ValidationContext | None = None


@dataclass(frozen=True, slots=True)
class SdsRef:
    """`SdsSecretConfig`: a secret by name, from ADS, from the file `path`, or (static=True) from
    `static_resources`."""

    name: str
    static: bool = False
    path: str = ""


@dataclass(frozen=True, slots=True)
class CommonTls:
    """`CommonTlsContext`. `validation` is the inline or the combined default context; with
    `validation_sds` the secret's trusted_ca and SANs are merged over it (Envoy's rule)."""

    certificates: tuple[TlsCertificate, ...] = ()
    certificate_sds: SdsRef | None = None
    validation: ValidationContext | None = None
    validation_sds: SdsRef | None = None
    alpn: tuple[str, ...] = ()
    min_version: Literal["TLSv1_2", "TLSv1_3"] = "TLSv1_2"
    max_version: Literal["TLSv1_2", "TLSv1_3"] = "TLSv1_3"
    ciphers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DownstreamTls:
    common: CommonTls
    require_client_certificate: bool = False


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    common: CommonTls
    sni: str = ""
