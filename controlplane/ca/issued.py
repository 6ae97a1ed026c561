"""A key and its certificate, made by the control plane itself, for those who have no agent.

That is the control plane's own server, and a plain Envoy that gets its secret by SDS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from certs.keys import generate_key, key_to_pem
from certs.renewal import should_renew
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, chain_to_pem, validity
from controlplane.ca.live import Signer
from protos.frozen import frozen


@frozen
class IssuedSecret:
    """PEM of the private key (PKCS#8) and of the chain without the root; times in Unix seconds.
    issuer: the certificate that issued it, not a part of the chain if that is the root."""

    key_pem: bytes = field(repr=False)
    chain_pem: bytes
    not_before: float
    not_after: float
    issuer: Certificate
    leaf: Certificate

    def should_renew(self, now: float, issuer: Certificate) -> bool:
        """At half life, or because another certificate issues now."""
        return issuer != self.issuer or should_renew(now, self.not_before, self.not_after)


def issue_secret(
    signer: Signer,
    identity: SpiffeId,
    ttl_s: float,
    now: float,
    *,
    dns_names: Sequence[str] = (),
    ip_addresses: Sequence[str] = (),
) -> IssuedSecret:
    """A new P-256 key and its SVID. CertificateError as `Authority.sign`."""
    key = generate_key()
    chain = signer.sign(
        key.public_key(), identity, ttl_s, now, dns_names=dns_names, ip_addresses=ip_addresses
    )
    not_before, not_after = validity(chain[0])
    # The peer has the root already, from its trust bundle.
    return IssuedSecret(
        key_to_pem(key), chain_to_pem(chain[:-1]), not_before, not_after, chain[1], chain[0]
    )
