"""A certificate authority for tests, made with `cryptography` alone.

It shares nothing with `certs/`: the two must agree by what X.509 says, not by construction.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SIGNS = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
"""digitalSignature alone: without a key usage a leaf might sign others (X.509-SVID section 4.3)."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """PEM texts: the certificate (leaf only) and its PKCS#8 key."""

    certificate: str
    key: str

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.certificate.encode()).serial_number

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """NAME.pem and NAME.key in `directory`."""
        paths = (directory / f"{name}.pem", directory / f"{name}.key")
        for path, text in zip(paths, (self.certificate, self.key), strict=True):
            path.write_text(text)
        return paths


class Authority:
    """A P-256 root that signs whatever a test asks for, also wrong things."""

    def __init__(
        self,
        common_name: str = "test root",
        lifetime: timedelta = timedelta(days=1),
        above: Authority | None = None,
    ) -> None:
        """above: who signs it; itself without."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        signer = name if above is None else above._certificate.subject
        builder = _builder(name, signer, self._key.public_key(), lifetime)
        self._certificate: x509.Certificate = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        ).sign(self._key if above is None else above._key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return _pem(self._certificate)

    @property
    def serial(self) -> int:
        return self._certificate.serial_number

    def issue(
        self,
        *,
        uris: tuple[str, ...] = (),
        dns: tuple[str, ...] = (),
        ips: tuple[str, ...] = (),
        lifetime: timedelta = timedelta(hours=1),
        begins_in: timedelta = timedelta(hours=-1),
        key_usage: bool = True,
        must_staple: bool = False,
    ) -> KeyPair:
        """A leaf for client and server use; a negative `lifetime` makes it expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [
            *(x509.UniformResourceIdentifier(uri) for uri in uris),
            *(x509.DNSName(name) for name in dns),
            *(x509.IPAddress(ip_address(ip)) for ip in ips),
        ]
        builder = _builder(
            _name("test leaf"), self._certificate.subject, key.public_key(), lifetime, begins_in
        )
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        if key_usage:
            builder = builder.add_extension(_SIGNS, critical=True)
        if must_staple:
            feature = x509.TLSFeature([x509.TLSFeatureType.status_request])
            builder = builder.add_extension(feature, critical=False)
        certificate = (
            builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return KeyPair(_pem(certificate), _pem_key(key))

    def crl(self, *revoked: KeyPair | Authority) -> str:
        """PEM; good for a day."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - timedelta(hours=1))
            .next_update(now + timedelta(days=1))
        )
        for bad in revoked:
            one = x509.RevokedCertificateBuilder().serial_number(bad.serial).revocation_date(now)
            builder = builder.add_revoked_certificate(one.build())
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()

    def ocsp(self, pair: KeyPair, good_for: timedelta | None = timedelta(days=1)) -> bytes:
        """DER; that it is good. None: it does not say for how long."""
        now = datetime.now(UTC)
        certificate = x509.load_pem_x509_certificate(pair.certificate.encode())
        builder = ocsp.OCSPResponseBuilder().add_response(
            certificate,
            self._certificate,
            hashes.SHA1(),
            ocsp.OCSPCertStatus.GOOD,
            now - timedelta(days=2),
            None if good_for is None else now + good_for,
            None,
            None,
        )
        signed = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self._certificate).sign(
            self._key, hashes.SHA256()
        )
        return signed.public_bytes(serialization.Encoding.DER)


def rsa_certificate(key: rsa.RSAPrivateKey) -> str:
    """A self-signed certificate of this key, PEM."""
    name = _name("rsa")
    builder = _builder(name, name, key.public_key(), timedelta(days=1))
    return _pem(builder.sign(key, hashes.SHA256()))


RootKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def root_of(key: RootKey) -> str:
    """A self-signed CA certificate of this key, whatever its kind, PEM."""
    name = _name("root")
    builder = _builder(name, name, key.public_key(), timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return _pem(builder.sign(key, algorithm))


def server_context(authority: Authority, pair: tuple[Path, Path]) -> ssl.SSLContext:
    """A server that shows `pair` and requires a client certificate of `authority`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    context.load_verify_locations(cadata=authority.pem)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(authority: Authority, pair: tuple[Path, Path] | None) -> ssl.SSLContext:
    """A client that shows `pair`, or nothing, and believes a server of `authority` of any name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=authority.pem)
    if pair:
        context.load_cert_chain(*pair)
    return context


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey,
    lifetime: timedelta,
    begins_in: timedelta = timedelta(hours=-1),
) -> x509.CertificateBuilder:
    end = datetime.now(UTC) + lifetime
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - abs(lifetime) + begins_in)
        .not_valid_after(end)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _pem_key(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
