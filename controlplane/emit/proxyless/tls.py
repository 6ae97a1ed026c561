"""TLS contexts of gRPC (gRFC A29): certificates come from a provider of the program's bootstrap.

gRPC refuses what it can't do (versions, SDS, lists of revocations), and asks for names by the field
that Envoy has given up.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateProviderPluginInstance,
    CertificateValidationContext,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue

from controlplane.emit import names
from controlplane.emit.tls import TLS_SOCKET, accepted
from controlplane.emit.words import packed

PROVIDER = "default"
"""The name of the provider of certificates in a bootstrap, which is Istio's."""


def upstream(
    sni: str, identities: Iterable[str], trust_domains: tuple[str, ...]
) -> TransportSocket:
    """A client's side: exactly these identities; with none known, whoever is of the mesh."""
    context = UpstreamTlsContext(
        common_tls_context=_common(accepted(identities, trust_domains)), sni=sni
    )
    return TransportSocket(name=TLS_SOCKET, typed_config=packed(context))


def downstream() -> TransportSocket:
    """A server's side: nobody without a certificate. gRPC's servers look at no names there, so the
    roots of the program's provider decide who is of the mesh, and RBAC who may do what."""
    context = DownstreamTlsContext(
        common_tls_context=_common(()), require_client_certificate=BoolValue(value=True)
    )
    return TransportSocket(name=TLS_SOCKET, typed_config=packed(context))


def _common(identities: Iterable[StringMatcher]) -> CommonTlsContext:
    roots = CertificateProviderPluginInstance(
        instance_name=PROVIDER, certificate_name=names.ROOT_SECRET
    )
    validation = CertificateValidationContext(
        ca_certificate_provider_instance=roots, match_subject_alt_names=identities
    )
    own = CertificateProviderPluginInstance(
        instance_name=PROVIDER, certificate_name=names.CERTIFICATE_SECRET
    )
    return CommonTlsContext(tls_certificate_provider_instance=own, validation_context=validation)
