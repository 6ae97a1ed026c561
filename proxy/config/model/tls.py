"""TLS contexts and secrets (`extensions.transport_sockets.tls.v3`)."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from protos.frozen import frozen
from proxy.config.model.common import StringMatcher

StaplePolicy = Literal["LENIENT_STAPLING", "STRICT_STAPLING", "MUST_STAPLE"]
"""What becomes of a client that asks for an OCSP response where there is none that is good."""


@frozen
class DataSource:
    """Bytes that were inline or read from a file when decoded. `origin` is for messages only."""

    data: bytes = field(repr=False)
    origin: str = "inline"


@frozen
class TlsCertificate:
    chain: DataSource
    private_key: DataSource = field(repr=False)
    password: DataSource | None = field(default=None, repr=False)
    ocsp_staple: DataSource | None = None


@frozen
class SanMatcher:
    """`SubjectAltNameMatcher`. oid: of an OTHER_NAME."""

    san_type: Literal["URI", "DNS", "EMAIL", "IP_ADDRESS", "OTHER_NAME"]
    matcher: StringMatcher
    oid: str = ""


@frozen
class TrustDomain:
    """Of a `SPIFFECertValidatorConfig`: the roots (PEM) of the identities of one trust domain."""

    name: str
    bundle: DataSource


@frozen
class ValidationContext:
    """`CertificateValidationContext`. `trusted_ca` None: the peer's chain is not verified, unless
    `trust_domains` are there (Envoy's SPIFFE validator), each with roots of its own.

    hashes, spkis: SHA-256 digests of which the leaf must have one (`verify_certificate_hash`,
    `verify_certificate_spki`). accept_untrusted: a peer that fails is let in and counted."""

    trusted_ca: DataSource | None = None
    match_sans: tuple[SanMatcher, ...] = ()
    crl: DataSource | None = None
    only_verify_leaf_crl: bool = False
    hashes: tuple[bytes, ...] = ()
    spkis: tuple[bytes, ...] = ()
    allow_expired: bool = False
    accept_untrusted: bool = False
    max_verify_depth: int | None = None
    trust_domains: tuple[TrustDomain, ...] = ()


@frozen
class Secret:
    """An SDS resource: exactly one of the two is set."""

    name: str
    certificate: TlsCertificate | None = None
    validation: ValidationContext | None = None


@frozen
class SdsRef:
    """`SdsSecretConfig`: a secret by name, from ADS, from the file `path`, or (static=True) from
    `static_resources`."""

    name: str
    static: bool = False
    path: str = ""


@frozen
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
    curves: tuple[str, ...] = ()
    signature_algorithms: tuple[str, ...] = ()


@frozen
class DownstreamTls:
    """session_timeout_s: how long a session may be resumed; None is OpenSSL's two hours.
    stateless_resumption: by tickets. stateful_resumption: by session ids (TLS 1.2)."""

    common: CommonTls
    require_client_certificate: bool = False
    session_timeout_s: int | None = None
    stateless_resumption: bool = True
    stateful_resumption: bool = True
    prefer_client_ciphers: bool = False
    ocsp_staple_policy: StaplePolicy = "LENIENT_STAPLING"


@frozen
class UpstreamTls:
    """auto_host_sni: the host's name is the SNI where none is configured.
    auto_sni_san_validation: the SNI must be in the certificate, instead of `match_sans`.
    max_session_keys: how many sessions are kept to be resumed."""

    common: CommonTls
    sni: str = ""
    auto_host_sni: bool = False
    auto_sni_san_validation: bool = False
    max_session_keys: int = 1
