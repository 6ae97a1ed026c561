"""The value of `x-forwarded-client-cert` (Envoy's XFCC): which certificate a request came with."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Set
from urllib.parse import quote

from proxy.connection import PeerCertificate
from proxy.http.field_value import is_field_value


def forwarded_client_cert(
    peer: PeerCertificate,
    details: Set[str],
    own_uri: bytes,
    chain: Callable[[], tuple[bytes, ...]],
) -> bytes:
    """`By=...;Hash=...;Subject="...";URI=...`: one element, keys in Envoy's order.

    details: `set_current_client_cert_details`. own_uri: the URI of our own certificate. chain:
    what the peer has shown beside its certificate, DER."""
    parts = [b"By=" + own_uri] if own_uri else []
    parts.append(b"Hash=" + peer.sha256.encode())
    if "cert" in details:
        parts.append(b'Cert="%b"' % _quoted((peer.der,)))
    if "chain" in details:
        parts.append(b'Chain="%b"' % _quoted((peer.der, *chain())))
    if "subject" in details:
        parts.append(b'Subject="%b"' % peer.subject.replace('"', '\\"').encode())
    if "uri" in details:
        parts.extend(b"URI=" + uri for uri in _harmless(peer.uri_sans))
    if "dns" in details:
        parts.extend(b"DNS=" + name for name in _harmless(peer.dns_sans))
    return b";".join(parts)


def _harmless(names: Iterable[str]) -> Iterator[bytes]:
    """Without those that are no header's value: a CA may sign any IA5String, line ends too."""
    return filter(is_field_value, (name.encode() for name in names))


def _quoted(certificates: tuple[bytes, ...]) -> bytes:
    return quote("".join(pem(der) for der in certificates), safe="").encode()


def pem(der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])
