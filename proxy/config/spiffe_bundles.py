"""A map of SPIFFE bundles in JSON, `{"trust_domains": {NAME: {"keys": [JWK, ...]}}}`, into roots.

Envoy's `trust_bundles`; each bundle is one of the SPIFFE Trust Domain and Bundle specification,
section 4, of whose keys those for X.509 count. Knows no protobuf.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from proxy.config.model import DataSource, TrustDomain


def trust_domains(source: DataSource) -> tuple[TrustDomain, ...]:
    """Raises ValueError for what no identity could be verified with."""
    try:
        whole = json.loads(source.data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from None
    domains = whole.get("trust_domains") if isinstance(whole, dict) else None
    if not isinstance(domains, dict) or not domains:
        raise ValueError("has no trust_domains")
    return tuple(
        TrustDomain(name, DataSource(_roots(name, bundle), f"{source.origin} ({name})"))
        for name, bundle in domains.items()
    )


def _roots(name: str, bundle: Any) -> bytes:
    keys = bundle.get("keys") if isinstance(bundle, dict) else None
    if not isinstance(keys, list) or not keys:
        raise ValueError(f"{name}: has no keys")
    found = [_certificate(name, key) for key in keys if _use(name, key) == "x509-svid"]
    if not found:
        raise ValueError(f"{name}: none of its keys is for x509-svid")
    return b"".join(found)


def _use(name: str, key: Any) -> str:
    use = key.get("use") if isinstance(key, dict) else None
    if not isinstance(use, str):
        raise ValueError(f"{name}: a key does not say its use")
    return use


def _certificate(name: str, key: dict[str, Any]) -> bytes:
    """Of the certificates of a key the first one is its own (RFC 7517 section 4.7)."""
    chain = key.get("x5c")
    if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):
        raise ValueError(f"{name}: a key for x509-svid has no x5c")
    try:
        der = base64.b64decode(chain[0], validate=True)
    except binascii.Error as error:
        raise ValueError(f"{name}: x5c: {error}") from None
    lines = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n".encode()
