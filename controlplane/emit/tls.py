"""TLS contexts: both ends of mesh mTLS, and TLS to servers outside of the mesh.

Certificates are named, never inlined: SDS `default` is the workload's own and `ROOTCA` the trust
bundle, both over ADS. SPIFFE ids are verified as URI SANs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import DataSource, TransportSocket
from envoy.config.core.v3.proxy_protocol_pb2 import ProxyProtocolConfig
from envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2 import (
    ProxyProtocolUpstreamTransport,
)
from envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsParameters,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue

from controlplane.emit import credentials, names
from controlplane.emit.words import over_ads, packed, seconds
from controlplane.mesh.ip import is_ip
from controlplane.mesh.model import ClientTls
from controlplane.mesh.tls_limits import NO_LIMITS, TlsLimits

TLS_SOCKET = "envoy.transport_sockets.tls"
CREDENTIAL_WAIT_S = 1.0
SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"


def downstream_mutual(
    trust_domains: Iterable[str], alpn: tuple[str, ...], limits: TlsLimits = NO_LIMITS
) -> TransportSocket:
    """A sidecar's inbound TLS: any identity of these domains, none without a certificate."""
    prefixes = [StringMatcher(prefix=names.trust_domain_prefix(name)) for name in trust_domains]
    context = DownstreamTlsContext(
        common_tls_context=_mutual(prefixes, alpn, limits),
        require_client_certificate=BoolValue(value=True),
    )
    return TransportSocket(name=TLS_SOCKET, typed_config=packed(context))


def downstream_own(alpn: tuple[str, ...]) -> TransportSocket:
    """The proxy's own certificate, without asking for one (ISTIO_SIMPLE)."""
    common = CommonTlsContext(
        tls_params=_parameters(),
        alpn_protocols=alpn,
        tls_certificate_sds_secret_configs=[by_sds(names.CERTIFICATE_SECRET)],
    )
    context = DownstreamTlsContext(common_tls_context=common)
    return TransportSocket(name=TLS_SOCKET, typed_config=packed(context))


def upstream_mutual(
    sni: str, identities: Iterable[str], trust_domains: tuple[str, ...], alpn: tuple[str, ...]
) -> TransportSocket:
    """A sidecar's outbound TLS: exactly these identities, by any name of the mesh's trust domain
    (its own first, then aliases); with none known, whoever is of it."""
    matchers = accepted(identities, trust_domains)
    context = UpstreamTlsContext(common_tls_context=_mutual(matchers, alpn), sni=sni)
    return TransportSocket(name=TLS_SOCKET, typed_config=packed(context))


def accepted(identities: Iterable[str], trust_domains: tuple[str, ...]) -> list[StringMatcher]:
    """These, by any name of the trust domain; whoever is of it where none is known."""
    wanted = {name for identity in identities for name in _aliased(identity, trust_domains)}
    matchers = [StringMatcher(exact=identity) for identity in sorted(wanted)]
    anybody = [StringMatcher(prefix=names.trust_domain_prefix(name)) for name in trust_domains]
    return matchers or anybody


def _aliased(identity: str, trust_domains: tuple[str, ...]) -> Iterable[str]:
    """Istio's ExpandWithTrustDomains: a SPIFFE id of ours is the same one in each of our trust
    domains. One of a foreign domain is itself alone."""
    yield identity
    scheme, _, rest = identity.partition("://")
    domain, _, path = rest.partition("/")
    if scheme == "spiffe" and domain in trust_domains:
        yield from (f"spiffe://{alias}/{path}" for alias in trust_domains)


def upstream_simple(sni: str, dns_names: Iterable[str]) -> TransportSocket:
    """HTTPS to a server outside of the mesh, verified by the system's roots."""
    settings = ClientTls("SIMPLE", sni, tuple(dns_names))
    return upstream_outside(settings, sni, names.outside_alpn("HTTP"))


def upstream_outside(settings: ClientTls, sni: str, alpn: tuple[str, ...]) -> TransportSocket:
    """TLS to a server outside of the mesh (Istio's SIMPLE and MUTUAL): it is verified by the
    system's roots or those of `settings`, and by its names, the SNI where none are given."""
    common = CommonTlsContext(tls_params=_parameters(settings.limits), alpn_protocols=alpn)
    if settings.credential is not None:
        _name_credential(common, settings, settings.credential, sni)
    elif settings.verifies:
        common.validation_context.CopyFrom(_outside(settings, sni))
    if settings.mode == "MUTUAL" and settings.credential is None:
        own = common.tls_certificates.add()
        own.certificate_chain.filename = settings.certificate
        own.private_key.filename = settings.private_key
    if settings.shown is not None:
        shown = _in_time(by_sds(credentials.pair_name(*settings.shown)))
        common.tls_certificate_sds_secret_configs.append(shown)
    context = UpstreamTlsContext(common_tls_context=common, sni=sni)
    return TransportSocket(name=TLS_SOCKET, typed_config=packed(context))


def _name_credential(
    common: CommonTlsContext, settings: ClientTls, credential: tuple[str, str], sni: str
) -> None:
    """What stands in files otherwise comes over SDS."""
    if settings.verifies:
        combined = common.combined_validation_context
        combined.default_validation_context.match_typed_subject_alt_names.extend(
            _outside(settings, sni).match_typed_subject_alt_names
        )
        roots = _in_time(by_sds(credentials.roots_name(*credential)))
        combined.validation_context_sds_secret_config.CopyFrom(roots)
    if settings.mode == "MUTUAL":
        common.tls_certificate_sds_secret_configs.append(
            _in_time(by_sds(credentials.pair_name(*credential)))
        )


def _in_time(secret: SdsSecretConfig) -> SdsSecretConfig:
    """One that may not be there at all: Envoy would else hold up its other clusters and listeners
    for 15 s."""
    secret.sds_config.initial_fetch_timeout.CopyFrom(seconds(CREDENTIAL_WAIT_S))
    return secret


def _outside(settings: ClientTls, sni: str) -> CertificateValidationContext:
    validation = CertificateValidationContext(
        trusted_ca=_roots(settings),
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name))
            for name in settings.subject_alt_names or (sni,)
            for kind in kinds_of(name)
        ],
    )
    if settings.crl:
        validation.crl.filename = settings.crl
    return validation


def _roots(settings: ClientTls) -> DataSource:
    if settings.roots_pem:
        return DataSource(inline_string=settings.roots_pem)
    return DataSource(filename=settings.roots or SYSTEM_ROOTS)


def kinds_of(name: str) -> tuple[SubjectAltNameMatcher.SanType, ...]:
    """What a plain name may be in a certificate (Istio's subjectAltNames do not tell)."""
    if "://" in name:
        return (SubjectAltNameMatcher.URI,)
    return (SubjectAltNameMatcher.IP_ADDRESS,) if is_ip(name) else (SubjectAltNameMatcher.DNS,)


def plaintext() -> TransportSocket:
    return TransportSocket(
        name="envoy.transport_sockets.raw_buffer", typed_config=packed(RawBuffer())
    )


def _mutual(
    identities: Iterable[StringMatcher], alpn: tuple[str, ...], limits: TlsLimits = NO_LIMITS
) -> CommonTlsContext:
    validation = CertificateValidationContext(
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(san_type=SubjectAltNameMatcher.URI, matcher=matcher)
            for matcher in identities
        ]
    )
    combined = CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=validation,
        validation_context_sds_secret_config=by_sds(names.ROOT_SECRET),
    )
    return CommonTlsContext(
        tls_params=_parameters(limits),
        alpn_protocols=alpn,
        tls_certificate_sds_secret_configs=[by_sds(names.CERTIFICATE_SECRET)],
        combined_validation_context=combined,
    )


def by_sds(name: str) -> SdsSecretConfig:
    """The secret, over the stream that everything else comes over."""
    return SdsSecretConfig(name=name, sds_config=over_ads())


def _parameters(limits: TlsLimits = NO_LIMITS) -> TlsParameters:
    """As Istio: Envoy's clients would else stop at 1.2."""
    least = TlsParameters.TLSv1_3 if limits.only_tls13 else TlsParameters.TLSv1_2
    return TlsParameters(
        tls_minimum_protocol_version=least,
        tls_maximum_protocol_version=TlsParameters.TLSv1_3,
        cipher_suites=limits.ciphers,
        ecdh_curves=limits.curves,
    )


# --------------------------------------------------------------------------- before TLS


_PROXY_VERSIONS: Mapping[str, ProxyProtocolConfig.Version] = {
    "V1": ProxyProtocolConfig.V1,
    "V2": ProxyProtocolConfig.V2,
}


def after_proxy_header(cluster: Cluster, version: str) -> None:
    """Whatever the cluster speaks, each connection begins with a PROXY header."""
    if cluster.transport_socket_matches:
        for match in cluster.transport_socket_matches:
            match.transport_socket.CopyFrom(_wrapped(match.transport_socket, version))
        return
    inner = cluster.transport_socket if cluster.HasField("transport_socket") else plaintext()
    cluster.transport_socket.CopyFrom(_wrapped(inner, version))


def _wrapped(inner: TransportSocket, version: str) -> TransportSocket:
    config = ProxyProtocolConfig(version=_PROXY_VERSIONS[version])
    outer = ProxyProtocolUpstreamTransport(config=config, transport_socket=inner)
    name = "envoy.transport_sockets.upstream_proxy_protocol"
    return TransportSocket(name=name, typed_config=packed(outer))
