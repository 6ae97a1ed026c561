"""The authorities that the mesh makes for itself: a root, and an intermediate below it.

X.509-SVID standard, sections 3.2 and 4; RFC 5280. Pure: keys, times and names in, a certificate
out. Leaves are made from `certs.template`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certs.keys import PrivateKey, PublicKey
from certs.spiffe import SpiffeId
from certs.template import signature_hash
from certs.x509 import Certificate, issuer_key_id, public_key

ROOT_LIFETIME_S = 10 * 365 * 86400
INTERMEDIATE_LIFETIME_S = 365 * 86400
# Clocks of other machines may be behind ours by this much. Of a certificate that lives less than
# 50 minutes a tenth, so that its half life is not over when it is made.
BACK_DATE_S = 300
BACK_DATE_SHARE = 0.1


def make_root(key: PrivateKey, trust_domain: str, now: float) -> Certificate:
    """A self-signed root of 10 years whose identity is the trust domain itself."""
    name = _name(trust_domain, "Weft root CA")
    builder = _builder(name, key.public_key(), now - BACK_DATE_S, now + ROOT_LIFETIME_S)
    key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    # One level of intermediate authorities may stand between the root and the leaves.
    builder = _authority(builder.subject_name(name), trust_domain, path_length=1)
    return builder.add_extension(key_id, critical=False).sign(key, signature_hash(key))


def make_intermediate(
    root: Certificate, root_key: PrivateKey, key: PublicKey, trust_domain: str, now: float
) -> Certificate:
    """An authority of a year below the root, never of longer life, that signs leaves only."""
    start = max(now - BACK_DATE_S, root.not_valid_before_utc.timestamp())
    end = min(now + INTERMEDIATE_LIFETIME_S, root.not_valid_after_utc.timestamp())
    # The year tells intermediates apart that follow each other.
    name = _name(trust_domain, f"Weft intermediate CA {datetime.fromtimestamp(now, UTC):%Y-%m-%d}")
    builder = _builder(root.subject, key, start, end).subject_name(name)
    key_id = x509.AuthorityKeyIdentifier(issuer_key_id(root), None, None)
    builder = _authority(builder, trust_domain, path_length=0)
    return builder.add_extension(key_id, critical=False).sign(root_key, signature_hash(root_key))


def make_cross(
    issuer: Certificate,
    issuer_key: PrivateKey,
    root: Certificate,
    trust_domain: str,
    depth: int,
    now: float,
) -> Certificate:
    """Another root's name and key, certified by this one, for as long as both live.

    `depth`: how many authorities stand below that root.
    """
    start = max(
        now - BACK_DATE_S, *(one.not_valid_before_utc.timestamp() for one in (issuer, root))
    )
    end = min(one.not_valid_after_utc.timestamp() for one in (issuer, root))
    builder = _builder(issuer.subject, public_key(root), start, end).subject_name(root.subject)
    builder = _authority(builder, trust_domain, path_length=depth)
    key_id = x509.AuthorityKeyIdentifier(issuer_key_id(issuer), None, None)
    return builder.add_extension(key_id, critical=False).sign(
        issuer_key, signature_hash(issuer_key)
    )


def make_crl(
    issuer: Certificate, key: PrivateKey, revoked: Mapping[int, float], now: float
) -> bytes:
    """RFC 5280 section 5: PEM, entries by serial number. The CRL's number is its time in ms."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(datetime.fromtimestamp(int(now - BACK_DATE_S), UTC))
        .next_update(issuer.not_valid_after_utc)
        .add_extension(x509.CRLNumber(int(now * 1000)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier(issuer_key_id(issuer), None, None), critical=False
        )
    )
    for serial, at in sorted(revoked.items()):
        entry = x509.RevokedCertificateBuilder().serial_number(serial)
        builder = builder.add_revoked_certificate(
            entry.revocation_date(datetime.fromtimestamp(int(at), UTC)).build()
        )
    return builder.sign(key, signature_hash(key)).public_bytes(Encoding.PEM)


def _name(trust_domain: str, common_name: str) -> x509.Name:
    # RFC 5280 bounds these at 64 characters, a trust domain may have 255.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    issuer: x509.Name, key: PublicKey, start: float, end: float
) -> x509.CertificateBuilder:
    """Serial (20 random octets, RFC 5280 4.1.2.2), validity, key and its identifier."""
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


def _authority(
    builder: x509.CertificateBuilder, trust_domain: str, path_length: int
) -> x509.CertificateBuilder:
    """X.509-SVID sections 4.1, 4.3: signs certificates and CRLs; its identity has no path."""
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    identity = x509.UniformResourceIdentifier(str(SpiffeId(trust_domain)))
    return (
        builder.add_extension(x509.BasicConstraints(True, path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectAlternativeName([identity]), critical=False)
    )
