"""How a gateway's server ends TLS: certificates by SDS or from files, and whom it lets in."""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.core.v3.base_pb2 import DataSource, TransportSocket
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsParameters,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from controlplane.emit import credentials
from controlplane.emit.tls import TLS_SOCKET, by_sds, downstream_mutual, downstream_own, kinds_of
from controlplane.emit.words import packed
from controlplane.mesh.gateways import ServerTls
from controlplane.mesh.tls_limits import NO_LIMITS, TlsLimits

_VERSIONS: Mapping[str, TlsParameters.TlsProtocol] = {
    "TLSV1_0": TlsParameters.TLSv1_0,
    "TLSV1_1": TlsParameters.TLSv1_1,
    "TLSV1_2": TlsParameters.TLSv1_2,
    "TLSV1_3": TlsParameters.TLSv1_3,
}
HTTP_ALPN = ("h2", "http/1.1")


def downstream(
    settings: ServerTls,
    trust_domains: tuple[str, ...],
    alpn: tuple[str, ...],
    mutual: TlsLimits = NO_LIMITS,
) -> TransportSocket:
    """mutual: what holds for mutual TLS between workloads."""
    if settings.mode == "ISTIO_MUTUAL":
        return downstream_mutual(trust_domains, alpn, mutual)
    if settings.mode == "ISTIO_SIMPLE":
        return downstream_own(alpn)
    common = CommonTlsContext(tls_params=_parameters(settings), alpn_protocols=alpn)
    for name in settings.credentials:
        common.tls_certificate_sds_secret_configs.append(by_sds(credentials.pair_name(*name)))
    for certificate, key in settings.files:
        pair = common.tls_certificates.add()
        pair.certificate_chain.filename = certificate
        pair.private_key.filename = key
    if settings.mode != "SIMPLE":
        _verify(common, settings)
    context = DownstreamTlsContext(common_tls_context=common)
    context.require_client_certificate.value = settings.mode == "MUTUAL"
    return TransportSocket(name=TLS_SOCKET, typed_config=packed(context))


def _parameters(settings: ServerTls) -> TlsParameters:
    return TlsParameters(
        tls_minimum_protocol_version=_VERSIONS[settings.minimum or "TLSV1_2"],
        tls_maximum_protocol_version=_VERSIONS[settings.maximum or "TLSV1_3"],
        cipher_suites=settings.ciphers,
        ecdh_curves=settings.curves,
    )


def _verify(common: CommonTlsContext, settings: ServerTls) -> None:
    """Clients' certificates; with INSECURE_FALLBACK none of them is turned away."""
    validation = CertificateValidationContext(
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name))
            for name in settings.subject_alt_names
            for kind in kinds_of(name)
        ],
        verify_certificate_spki=settings.spki_hashes,
        verify_certificate_hash=settings.certificate_hashes,
    )
    if settings.mode == "INSECURE_FALLBACK":
        validation.trust_chain_verification = CertificateValidationContext.ACCEPT_UNTRUSTED
    if settings.roots_pem:
        validation.trusted_ca.CopyFrom(DataSource(inline_string=settings.roots_pem))
    elif settings.roots_file:
        validation.trusted_ca.filename = settings.roots_file
    if settings.crl_file:
        validation.crl.filename = settings.crl_file
    if settings.roots is None:
        common.validation_context.CopyFrom(validation)
        return
    combined = common.combined_validation_context
    combined.default_validation_context.CopyFrom(validation)
    roots = by_sds(credentials.roots_name(*settings.roots))
    combined.validation_context_sds_secret_config.CopyFrom(roots)
