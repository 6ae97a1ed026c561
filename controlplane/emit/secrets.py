"""SDS secrets: the trust bundle for everybody, a key only for whom the caller decided, and for
Weft's proxies who issues now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsCertificate,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_spiffe_validator_config_pb2 import (
    SPIFFECertValidatorConfig,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from controlplane.emit import names
from controlplane.emit.words import packed

SPIFFE_VALIDATOR = "envoy.tls.cert_validator.spiffe"


def root(
    bundle_pem: bytes,
    crl_pem: bytes = b"",
    by_trust_domain: Mapping[str, bytes] | None = None,
    *,
    whole_chains: bool = False,
) -> Secret:
    """`ROOTCA`: what peers are verified with.

    crl_pem: a list of each authority that may have issued a peer's certificate. Only leaves are
    looked up in them, unless there is a list for each certificate of whole_chains: Envoy would else
    want one of each root too. by_trust_domain: PEM roots
    where several trust domains are believed, each for its own identities alone; bundle_pem does
    not count then, and Envoy 1.40 looks at no crl_pem, only at lists among the roots of a trust
    domain, and then wants one of each issuer (tried). Weft looks at both."""
    context = CertificateValidationContext()
    if by_trust_domain:
        context.custom_validator_config.CopyFrom(_spiffe_validator(by_trust_domain))
    else:
        context.trusted_ca.inline_bytes = bundle_pem
    if crl_pem:
        context.crl.inline_bytes = crl_pem
        context.only_verify_leaf_cert_crl = not whole_chains
    return Secret(name=names.ROOT_SECRET, validation_context=context)


def revoked(identities: Iterable[str], bundle_pem: bytes) -> Secret:
    """`weft.dev/revoked`: whom Weft's proxies refuse, whichever certificate they show. Envoy has no
    words for that: these are the names of a validation context that verifies nobody. Its roots only
    make it one that proxies accept."""
    context = CertificateValidationContext(
        trusted_ca=DataSource(inline_bytes=bundle_pem),
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(
                san_type=SubjectAltNameMatcher.URI, matcher=StringMatcher(exact=identity)
            )
            for identity in identities
        ],
    )
    return Secret(name=names.REVOKED_SECRET, validation_context=context)


def _spiffe_validator(by_trust_domain: Mapping[str, bytes]) -> TypedExtensionConfig:
    domains = [
        SPIFFECertValidatorConfig.TrustDomain(name=name, trust_bundle=DataSource(inline_bytes=pem))
        for name, pem in sorted(by_trust_domain.items())
    ]
    config = SPIFFECertValidatorConfig(trust_domains=domains)
    return TypedExtensionConfig(name=SPIFFE_VALIDATOR, typed_config=packed(config))


def issuer(certificate_pem: bytes, spread_s: int = 0) -> Secret:
    """`weft.dev/issuer`: the certificate that issues now. A Weft proxy whose own was issued by
    another one renews it, at some moment within `spread_s`, which stands before the PEM as text
    that others pass over (RFC 7468 section 2)."""
    pem = f"spread_s: {spread_s}\n".encode() + certificate_pem
    context = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=pem))
    return Secret(name=names.ISSUER_SECRET, validation_context=context)


def certificate(chain_pem: bytes, key_pem: bytes, name: str = names.CERTIFICATE_SECRET) -> Secret:
    """`default`: a workload's certificate with its private key, for a plain Envoy."""
    pair = TlsCertificate(
        certificate_chain=DataSource(inline_bytes=chain_pem),
        private_key=DataSource(inline_bytes=key_pem),
    )
    return Secret(name=name, tls_certificate=pair)
