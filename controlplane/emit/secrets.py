"""SDS secrets: the trust bundle for everybody, a key only for whom the caller decided."""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    TlsCertificate,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from controlplane.emit import names


def root(bundle_pem: bytes) -> Secret:
    """`ROOTCA`: what peers are verified with."""
    context = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=bundle_pem))
    return Secret(name=names.ROOT_SECRET, validation_context=context)


def certificate(chain_pem: bytes, key_pem: bytes) -> Secret:
    """`default`: a workload's certificate with its private key, for a plain Envoy."""
    pair = TlsCertificate(
        certificate_chain=DataSource(inline_bytes=chain_pem),
        private_key=DataSource(inline_bytes=key_pem),
    )
    return Secret(name=names.CERTIFICATE_SECRET, tls_certificate=pair)
