"""The two kinds of certificate that the mesh issues: the root, and the X.509-SVID.

X.509-SVID standard, sections 2 to 4; RFC 5280. Pure: keys, times and names in, a certificate out.
Who may get one is not its business.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.errors import CertificateError
from certs.keys import PrivateKey, PublicKey
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, validity

ROOT_LIFETIME_S = 10 * 365 * 86400
# Clocks of other machines may be behind ours by this much. Of a certificate that lives less than
# 50 minutes a tenth, so that its half life is not over when it is made.
BACK_DATE_S = 300
_BACK_DATE_SHARE = 0.1

_LEAF_USAGE = x509.ExtendedKeyUsage(
    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
)


def make_root(key: PrivateKey, trust_domain: str, now: float) -> Certificate:
    """A self-signed root of 10 years whose identity is the trust domain itself."""
    identity = SpiffeId(trust_domain)
    # RFC 5280 bounds a common name at 64 characters, a trust domain may have 255.
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, "Weft root CA"),
        ]
    )
    builder = _builder(name, key.public_key(), now - BACK_DATE_S, now + ROOT_LIFETIME_S)
    # One level of intermediate authorities may stand between the root and the leaves.
    builder = (
        builder.subject_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(_san([x509.UniformResourceIdentifier(str(identity))]), critical=False)
        .add_extension(_authority_key_id(key), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def make_svid(
    issuer: Certificate,
    issuer_key: PrivateKey,
    public_key: PublicKey,
    identity: SpiffeId,
    *,
    ttl_s: float,
    now: float,
    dns_names: Sequence[str] = (),
    ip_addresses: Sequence[str] = (),
) -> Certificate:
    """An X.509-SVID valid for `ttl_s` seconds from `now`, but never longer than its issuer.

    DNS names and addresses are for servers that clients know by them. CertificateError if the
    issuer is not valid now or a name cannot stand in a certificate.
    """
    if not identity.path:
        # X.509-SVID section 3.1
        raise CertificateError(f"leaf identity {identity} needs a path")
    start, end = _leaf_validity(issuer, ttl_s, now)
    names = [
        x509.UniformResourceIdentifier(str(identity)),
        *(_dns_name(name) for name in dns_names),
        *(_ip_address(text) for text in ip_addresses),
    ]
    builder = _builder(issuer.subject, public_key, start, end).subject_name(x509.Name([]))
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(_LEAF_USAGE, critical=False)
        # RFC 5280 section 4.2.1.6: critical, as the subject is empty.
        .add_extension(_san(names), critical=True)
        .add_extension(_authority_key_id(issuer_key), critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256())


def _leaf_validity(issuer: Certificate, ttl_s: float, now: float) -> tuple[float, float]:
    issuer_start, issuer_end = validity(issuer)
    if not issuer_start <= now < issuer_end:
        raise CertificateError(
            f"issuer's certificate is not valid now (it ends {issuer.not_valid_after_utc:%Y-%m-%d})"
        )
    if ttl_s <= 0:
        raise CertificateError(f"lifetime of {ttl_s} s is not positive")
    back_date_s = min(BACK_DATE_S, ttl_s * _BACK_DATE_SHARE)
    return max(now - back_date_s, issuer_start), min(now + ttl_s, issuer_end)


def _builder(
    issuer: x509.Name, key: PublicKey, start: float, end: float
) -> x509.CertificateBuilder:
    """What both kinds have: serial (20 random octets, RFC 5280 4.1.2.2), validity, key and SKI."""
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # Whole seconds: X.509 has no others.
        .not_valid_before(datetime.fromtimestamp(int(start), UTC))
        .not_valid_after(datetime.fromtimestamp(int(end), UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _authority_key_id(issuer_key: PrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """X.509-SVID section 4.3: authorities sign certificates and CRLs, leaves sign handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _san(names: Sequence[x509.GeneralName]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(names)


def _dns_name(name: str) -> x509.DNSName:
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise CertificateError(f"DNS name {name!a} cannot stand in a certificate") from error


def _ip_address(text: str) -> x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError as error:
        raise CertificateError(f"{text!a} is not an IP address") from error
