"""Users' certificates over SDS, by Istio's names: `kubernetes://NAMESPACE/NAME`, and the roots that
stand beside them with `-cacert` behind it.

Whoever calls decides who may have them: what is served holds a private key.
"""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    TlsCertificate,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from controlplane.mesh.credentials import Credential


def pair_name(namespace: str, name: str) -> str:
    """Of the secret with certificate and key."""
    return f"kubernetes://{namespace}/{name}"


def roots_name(namespace: str, name: str) -> str:
    """Of the secret by which others are verified."""
    return f"{pair_name(namespace, name)}-cacert"


def secrets(credential: Credential) -> tuple[Secret, ...]:
    """What there is of it: the pair, the roots with their revocation lists."""
    found = []
    if credential.has_pair:
        pair = TlsCertificate(
            certificate_chain=DataSource(inline_bytes=credential.chain),
            private_key=DataSource(inline_bytes=credential.private_key),
        )
        name = pair_name(credential.namespace, credential.name)
        found.append(Secret(name=name, tls_certificate=pair))
    if credential.roots:
        context = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=credential.roots))
        if credential.lists:
            context.crl.inline_bytes = credential.lists
        name = roots_name(credential.namespace, credential.name)
        found.append(Secret(name=name, validation_context=context))
    return tuple(found)
