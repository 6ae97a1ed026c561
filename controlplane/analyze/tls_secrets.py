"""Whether a Secret has a certificate and key that a server can use."""

from __future__ import annotations

import base64
import binascii
import warnings
from collections.abc import Mapping
from datetime import datetime

from cryptography import x509

from controlplane.analyze.items import Item
from controlplane.kinds.secrets import PAIRS


def data_of(secret: Item) -> Mapping[str, bytes]:
    """What can't be read as base64 is empty."""
    found = {key: _decoded(value) for key, value in secret.body["data"].labels.items()}
    found |= {k: v.encode() for k, v in secret.body["stringData"].labels.items()}
    return found


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def fault_of(secret: Item, now: datetime) -> str | None:
    """What is wrong, as the end of a sentence about the secret."""
    data = data_of(secret)
    pair = next((pair for pair in PAIRS if all(name in data for name in pair)), None)
    if pair is None:
        return "needs both tls.crt and tls.key (or cert and key)"
    try:
        with warnings.catch_warnings(action="ignore"):  # of old certificates' serial numbers
            chain = x509.load_pem_x509_certificates(data[pair[0]])
    except ValueError:
        return f"has no PEM certificate in {pair[0]}"
    if not chain:
        return f"has no PEM certificate in {pair[0]}"
    if (end := chain[0].not_valid_after_utc) <= now:
        return f"has a certificate that ended on {end:%Y-%m-%d}; renew it"
    if b"-----BEGIN" not in data[pair[1]]:
        return f"has no PEM private key in {pair[1]}"
    return None
