"""The SVID that a connection has shown in its handshake, read once for all calls upon it.

Bounded: certificates that were not seen for long are read again. It judges only what never changes;
time, revocation and trust domain are looked at with each call, by whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from certs.errors import CertificateError
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, chain_from_pem, check_svid
from controlplane.ca.caller import Context
from protos.frozen import frozen

# gRPC's name for the peer's certificate, there only if the handshake verified it.
_PEER_CERTIFICATE = "x509_pem_cert"
_PEER_CHAIN = "x509_pem_cert_chain"
MAX_KEPT = 4096
"""Some 3 KB each."""


@frozen
class Shown:
    """signers: what came with the leaf, to lead to a root."""

    leaf: Certificate
    identity: SpiffeId
    signers: tuple[Certificate, ...] = ()


def shown(context: Context) -> Shown | None:
    """None if there is no client certificate. CertificateError: it is no SVID."""
    return _shown(context.auth_context())


def principal(facts: Mapping[str, Iterable[bytes]]) -> str:
    """Whose SVID a handshake has shown, by gRPC's names of it; '' for nobody's."""
    try:
        peer = _shown(facts)
    except CertificateError:
        return ""
    return str(peer.identity) if peer is not None else ""


def _shown(facts: Mapping[str, Iterable[bytes]]) -> Shown | None:
    for pem in facts.get(_PEER_CERTIFICATE, ()):
        return _read(pem, b"".join(facts.get(_PEER_CHAIN, ())))
    return None


@lru_cache(maxsize=MAX_KEPT)
def _read(pem: bytes, chain_pem: bytes) -> Shown:
    chain = chain_from_pem(pem, "client certificate")
    more = chain_from_pem(chain_pem, "client certificate's chain") if chain_pem.strip() else ()
    return Shown(chain[0], check_svid(chain), tuple(one for one in more if one != chain[0]))
