"""A certificate in words: as facts for programs, as lines for people. Values in, text out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certs.errors import CertificateError
from certs.x509 import Certificate, fingerprint, path_length, subject_of, uri_sans, validity

_DAY_S = 86400


def facts(certificate: Certificate) -> dict[str, Any]:
    """What stands in it, fit for JSON; times as RFC 3339 writes them."""
    not_before, not_after = validity(certificate)
    return {
        "subject": subject_of(certificate),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "uris": list(uri_sans(certificate)),
        "key": key_kind(certificate),
        "path_length": path_length(certificate),
        "not_before": rfc3339(not_before),
        "not_after": rfc3339(not_after),
        "sha256": fingerprint(certificate),
    }


def lines(certificate: Certificate, now: float) -> list[str]:
    """The same, a line each, `name: value` with the values below each other."""
    found = facts(certificate)
    length = found["path_length"]
    below = "any number of authorities" if length is None else counted(length, "authority")
    rows = {
        "subject": found["subject"],
        "issuer": "itself" if found["subject"] == found["issuer"] else found["issuer"],
        "identity": ", ".join(found["uris"]) or "none",
        "key": found["key"],
        "valid": f"{found['not_before']} to {found['not_after']} ({left(certificate, now)})",
        "may have": f"{below} below it",
        "serial": found["serial"],
        "sha256": found["sha256"],
    }
    return [f"{name + ':':10} {value}" for name, value in rows.items()]


def key_kind(certificate: Certificate) -> str:
    """`EC secp256r1`, `RSA 2048`, or the name of another kind."""
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError) as error:
        raise CertificateError(f"certificate's public key: {error}") from error
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return type(key).__name__


def left(certificate: Certificate, now: float) -> str:
    """How long it is valid still: `12 days left`, `3 hours left`, `expired 2 days ago` ..."""
    not_before, not_after = validity(certificate)
    if now < not_before:
        return f"begins in {span(not_before - now)}"
    if now > not_after:
        return f"expired {span(now - not_after)} ago"
    return f"{span(not_after - now)} left"


def span(seconds: float) -> str:
    """In days from two of them on, in hours from two on, else in minutes; rounded down."""
    for unit_s, name in ((_DAY_S, "days"), (3600, "hours")):
        if seconds >= 2 * unit_s:
            return f"{int(seconds // unit_s)} {name}"
    return f"{int(seconds // 60)} minutes"


def rfc3339(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(int(unix_s), UTC):%Y-%m-%dT%H:%M:%SZ}"


def counted(number: int, noun: str) -> str:
    """`1 root`, `2 roots`, `2 authorities`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
