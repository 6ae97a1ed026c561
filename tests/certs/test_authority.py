"""Issued certificates: their fields, and what OpenSSL, ssl and cryptography say of them."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from shutil import which

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from certs.authority import Authority
from certs.csr import CsrRefused, make_csr
from certs.errors import CertificateError
from certs.issuance import issuance_of
from certs.keys import PrivateKey, generate_key, key_to_pem, public_key_der
from certs.profiles import BACK_DATE_S, INTERMEDIATE_LIFETIME_S, ROOT_LIFETIME_S
from certs.renewal import renew_at
from certs.spiffe import SpiffeId
from certs.x509 import (
    Certificate,
    chain_from_pem,
    chain_to_pem,
    check_chain_order,
    check_svid,
    public_key,
    spiffe_id,
    validity,
)

NOW = 1_800_000_000.0
DAY_S = 86400
IDENTITY = SpiffeId.workload("cluster.local", "default", "cart")
KEY = generate_key()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("cluster.local", NOW)


@pytest.fixture(scope="module")
def chain(authority: Authority) -> tuple[Certificate, ...]:
    return authority.sign(
        make_csr(KEY, IDENTITY),
        IDENTITY,
        DAY_S,
        NOW,
        dns_names=["localhost"],
        ip_addresses=["127.0.0.1", "::1"],
    )


@pytest.mark.parametrize("below", [False, True])
def test_what_is_handed_out_is_what_is_signed(authority: Authority, below: bool) -> None:
    """Without an object of the certificate: the facts are those that stand in it."""
    issuer = authority.create_intermediate(NOW) if below else authority
    for ttl_s in (60, DAY_S + 0.7):
        made = issuer.issue(KEY.public_key(), IDENTITY, ttl_s, NOW + 0.3)
        chain = chain_from_pem("".join(made.pems).encode())
        signed = issuer.sign(KEY.public_key(), IDENTITY, ttl_s, NOW + 0.3)
        assert made == issuance_of(chain)
        assert chain[1:] == signed[1:] and len(made.pems) == len(chain)
        assert validity(chain[0]) == validity(signed[0])
        assert check_svid(chain) == IDENTITY
        check_chain_order(chain)
    with pytest.raises(CertificateError, match="trust domain"):
        issuer.issue(KEY.public_key(), SpiffeId("other", "/x"), 60, NOW)
    with pytest.raises(CertificateError, match="Ed25519"):
        issuer.issue(ed25519.Ed25519PrivateKey.generate().public_key(), IDENTITY, 60, NOW)  # type: ignore[arg-type]
    with pytest.raises(CertificateError, match="needs a path"):
        issuer.issue(KEY.public_key(), SpiffeId("cluster.local"), 60, NOW)


def test_the_root(authority: Authority) -> None:
    root = authority.certificate
    assert spiffe_id(root) == SpiffeId("cluster.local")
    assert validity(root) == (NOW - BACK_DATE_S, NOW + ROOT_LIFETIME_S)
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 1)
    assert usage.critical
    assert usage.value.key_cert_sign and usage.value.crl_sign
    assert not usage.value.digital_signature
    assert isinstance(root.public_key(), ec.EllipticCurvePublicKey)


def test_the_svid(authority: Authority, chain: tuple[Certificate, ...]) -> None:
    leaf, root = chain
    assert root == authority.certificate
    assert check_svid(chain) == IDENTITY
    check_chain_order(chain)
    assert public_key_der(public_key(leaf)) == public_key_der(KEY.public_key())
    assert leaf.subject == x509.Name([])
    assert validity(leaf) == (NOW - BACK_DATE_S, NOW + DAY_S)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_names_of_a_server(chain: tuple[Certificate, ...]) -> None:
    extension = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert extension.critical
    assert extension.value.get_values_for_type(x509.DNSName) == ["localhost"]
    assert extension.value.get_values_for_type(x509.IPAddress) == [
        ip_address("127.0.0.1"),
        ip_address("::1"),
    ]


def test_key_identifiers_link_leaf_and_root(chain: tuple[Certificate, ...]) -> None:
    leaf, root = chain
    authority_id = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    root_id = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert authority_id.key_identifier == root_id.digest
    own_id = leaf.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert own_id == x509.SubjectKeyIdentifier.from_public_key(KEY.public_key())


def test_a_csr_that_asks_for_another_identity_is_refused(authority: Authority) -> None:
    asked = SpiffeId.workload("cluster.local", "kube-system", "admin")
    with pytest.raises(CsrRefused, match=r"asks for identity .*admin.*sender is .*cart") as caught:
        authority.sign(make_csr(KEY, asked), IDENTITY, 60, NOW)
    assert caught.value.reason == "identity"


def test_names_of_a_csr_are_not_issued(authority: Authority) -> None:
    names = [x509.DNSName("bank.example"), x509.UniformResourceIdentifier(str(IDENTITY))]
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bank.example")]))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(KEY, hashes.SHA256())
    )
    leaf, _ = authority.sign(request.public_bytes(Encoding.PEM), IDENTITY, 60, NOW)
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(found) == [x509.UniformResourceIdentifier(str(IDENTITY))]
    assert leaf.subject == x509.Name([])
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)],
    ids=["P-384", "RSA-2048"],
)
def test_other_kinds_of_keys(authority: Authority, key: PrivateKey) -> None:
    chain = authority.sign(make_csr(key, IDENTITY), IDENTITY, 60, NOW)
    assert public_key_der(public_key(chain[0])) == public_key_der(key.public_key())
    check_chain_order(chain)


@pytest.mark.parametrize("ttl_s", [60, 600, 3600, DAY_S])
def test_half_life_lies_in_the_future_also_of_short_certificates(
    authority: Authority, ttl_s: int
) -> None:
    leaf, _ = authority.sign(KEY.public_key(), IDENTITY, ttl_s, NOW)
    not_before, not_after = validity(leaf)
    assert not_after == NOW + ttl_s
    assert NOW - BACK_DATE_S <= not_before < NOW
    assert renew_at(not_before, not_after, jitter=1.0) > NOW + 0.3 * ttl_s


def test_a_leaf_never_outlives_its_root(authority: Authority) -> None:
    end = validity(authority.certificate)[1]
    leaf, _ = authority.sign(KEY.public_key(), IDENTITY, DAY_S, end - 100)
    assert validity(leaf)[1] == end


@pytest.mark.parametrize(
    ("offset_s", "complaint"),
    [(0, "expires this second"), (1, "expired at"), (DAY_S, "expired at")],
)
def test_an_expired_root_signs_nothing(authority: Authority, offset_s: int, complaint: str) -> None:
    end = validity(authority.certificate)[1]
    with pytest.raises(CertificateError, match=complaint):
        authority.sign(KEY.public_key(), IDENTITY, 60, end + offset_s)


def test_a_leaf_is_not_back_dated_behind_its_root(authority: Authority) -> None:
    start = validity(authority.certificate)[0]
    leaf, _ = authority.sign(KEY.public_key(), IDENTITY, DAY_S, start + 10)
    assert validity(leaf)[0] == start


@pytest.mark.parametrize(
    ("identity", "ttl_s", "names", "complaint"),
    [
        (SpiffeId("other.domain", "/ns/a/sa/b"), 60, {}, "trust domain cluster.local"),
        (SpiffeId("cluster.local"), 60, {}, "needs a path"),
        (IDENTITY, 0, {}, "must be more than 0"),
        (IDENTITY, -5, {}, "must be more than 0"),
        (IDENTITY, 91 * DAY_S, {}, "at most 7776000 s"),
        (IDENTITY, 60, {"dns_names": ["bücher.example"]}, "DNS name"),
        (IDENTITY, 60, {"dns_names": ["a..b"]}, "DNS name"),
        (IDENTITY, 60, {"dns_names": ["a b"]}, "DNS name"),
        (IDENTITY, 60, {"dns_names": ["evil\0.example"]}, "DNS name"),
        (IDENTITY, 60, {"ip_addresses": ["127.0.0.300"]}, "not an IP address"),
    ],
)
def test_what_is_not_signed(
    authority: Authority,
    identity: SpiffeId,
    ttl_s: float,
    names: dict[str, list[str]],
    complaint: str,
) -> None:
    with pytest.raises(CertificateError, match=complaint):
        authority.sign(KEY.public_key(), identity, ttl_s, NOW, **names)


def test_a_certificate_and_another_key_are_no_authority(authority: Authority) -> None:
    with pytest.raises(CertificateError, match="does not match"):
        Authority(authority.certificate, generate_key())


def test_a_leaf_is_no_authority(chain: tuple[Certificate, ...]) -> None:
    with pytest.raises(CertificateError, match="not a CA"):
        Authority(chain[0], KEY)


def test_a_key_of_a_kind_that_is_not_issued(authority: Authority) -> None:
    weak = rsa.generate_private_key(65537, 1024).public_key()
    with pytest.raises(CertificateError, match="1024 bits"):
        authority.sign(weak, IDENTITY, 60, NOW)
    odd = ed25519.Ed25519PrivateKey.generate().public_key()
    with pytest.raises(CertificateError, match="Ed25519"):
        authority.sign(odd, IDENTITY, 60, NOW)  # type: ignore[arg-type]


def test_an_intermediate_signs_for_its_root(authority: Authority) -> None:
    below = authority.create_intermediate(NOW)
    leaf, issuer, root = below.sign(KEY.public_key(), IDENTITY, DAY_S, NOW)
    assert (issuer, root) == (below.certificate, authority.certificate)
    check_chain_order((leaf, issuer, root))
    assert below.intermediates == (issuer,)
    assert below.bundle == authority.bundle
    assert check_svid((leaf, issuer)) == IDENTITY
    policy = PolicyBuilder().store(Store([root])).time(datetime.fromtimestamp(NOW, UTC))
    policy.build_client_verifier().verify(leaf, [issuer])


def test_a_leaf_outlives_neither_intermediate_nor_root() -> None:
    authority = Authority.create("td", NOW)
    end = authority.not_after
    late = authority.create_intermediate(end - 1000)
    leaf = late.sign(KEY.public_key(), SpiffeId("td", "/a"), DAY_S, end - 900)[0]
    assert validity(leaf)[1] == validity(late.certificate)[1] == end
    early = authority.create_intermediate(NOW)
    last = early.not_after - 10
    leaf = early.sign(KEY.public_key(), SpiffeId("td", "/a"), DAY_S, last)[0]
    assert validity(leaf)[1] == early.not_after == NOW + INTERMEDIATE_LIFETIME_S


def test_an_intermediate_makes_no_other(authority: Authority) -> None:
    with pytest.raises(CertificateError, match="makes no other"):
        authority.create_intermediate(NOW).create_intermediate(NOW)


def test_long_trust_domains_fit_into_the_root() -> None:
    name = "t" * 255
    assert Authority.create(name, NOW).trust_domain == name


def test_serials_are_positive_and_differ(authority: Authority) -> None:
    serials = {
        authority.sign(KEY.public_key(), IDENTITY, 60, NOW)[0].serial_number for _ in range(50)
    }
    assert len(serials) == 50
    assert all(0 < serial < 2**159 for serial in serials)


def test_cryptography_verifies_client_and_server(chain: tuple[Certificate, ...]) -> None:
    leaf, root = chain
    policy = PolicyBuilder().store(Store([root])).time(datetime.fromtimestamp(NOW, UTC))
    verified = policy.build_client_verifier().verify(leaf, [])
    assert x509.UniformResourceIdentifier(str(IDENTITY)) in (verified.subjects or [])
    policy.build_server_verifier(x509.DNSName("localhost")).verify(leaf, [])


def openssl(folder: Path, leaf: Certificate, *options: str) -> tuple[int, str]:
    """What `openssl verify` says of a leaf, with root.pem and the given options."""
    (folder / "leaf.pem").write_bytes(chain_to_pem([leaf]))
    result = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-attime", str(int(NOW)), *options, "leaf.pem"],
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return result.returncode, result.stdout + result.stderr


needs_openssl = pytest.mark.skipif(which("openssl") is None, reason="no openssl on this machine")


@needs_openssl
@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_verifies_strictly(
    tmp_path: Path, chain: tuple[Certificate, ...], purpose: str
) -> None:
    (tmp_path / "root.pem").write_bytes(chain_to_pem(chain[1:]))
    found = openssl(tmp_path, chain[0], "-purpose", purpose, "-CAfile", "root.pem")
    assert found == (0, "leaf.pem: OK\n")


@needs_openssl
@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA"])
def test_openssl_verifies_below_an_intermediate(tmp_path: Path, kind: str) -> None:
    keys = {"P-256": None, "P-384": ec.generate_private_key(ec.SECP384R1())}
    key = keys[kind] if kind in keys else rsa.generate_private_key(65537, 2048)
    below = Authority.create("cluster.local", NOW, key).create_intermediate(NOW, key)
    leaf = below.sign(KEY.public_key(), IDENTITY, DAY_S, NOW)[0]
    (tmp_path / "root.pem").write_bytes(below.bundle.to_pem())
    (tmp_path / "below.pem").write_bytes(chain_to_pem(below.intermediates))
    found = openssl(tmp_path, leaf, "-CAfile", "root.pem", "-untrusted", "below.pem")
    assert found == (0, "leaf.pem: OK\n")


@needs_openssl
@pytest.mark.parametrize("through", [False, True], ids=["root", "intermediate"])
def test_openssl_finds_the_old_root_by_a_cross_certificate(tmp_path: Path, through: bool) -> None:
    old = _root_of_two_levels() if through else Authority.create("cluster.local", NOW)
    new = Authority.create("cluster.local", NOW)
    new = new.create_intermediate(NOW) if through else new
    leaf = new.sign(KEY.public_key(), IDENTITY, DAY_S, NOW)[0]
    (tmp_path / "root.pem").write_bytes(old.bundle.to_pem())
    (tmp_path / "more.pem").write_bytes(
        chain_to_pem((*new.intermediates, *old.cross_sign(new, NOW)))
    )
    options = ("-CAfile", "root.pem", "-untrusted", "more.pem")
    assert openssl(tmp_path, leaf, *options) == (0, "leaf.pem: OK\n")
    (tmp_path / "more.pem").write_bytes(chain_to_pem((*new.intermediates, new.root)))
    assert openssl(tmp_path, leaf, *options)[0] == 2


def _root_of_two_levels() -> Authority:
    """Somebody's root without a path length."""
    key, name = generate_key(), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "corp")])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.fromtimestamp(NOW - 1, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + DAY_S, UTC))
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(key_id, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key, trust_domain="cluster.local")


@needs_openssl
def test_openssl_refuses_what_is_on_the_revocation_list(
    tmp_path: Path, authority: Authority
) -> None:
    good, bad = (authority.sign(KEY.public_key(), IDENTITY, DAY_S, NOW)[0] for _ in range(2))
    (tmp_path / "root.pem").write_bytes(authority.bundle.to_pem())
    crl = authority.crl({bad.serial_number: NOW, 1: NOW - DAY_S}, NOW)
    (tmp_path / "crl.pem").write_bytes(crl)
    options = ("-CAfile", "root.pem", "-CRLfile", "crl.pem", "-crl_check")
    assert openssl(tmp_path, good, *options) == (0, "leaf.pem: OK\n")
    code, said = openssl(tmp_path, bad, *options)
    assert (code, "certificate revoked" in said) == (2, True)
    listed = x509.load_pem_x509_crl(crl)
    assert listed.next_update_utc == authority.certificate.not_valid_after_utc
    assert len(listed) == 2


def test_python_ssl_shakes_hands_both_ways(tmp_path: Path) -> None:
    # ssl reads the real clock: this authority lives now.
    now = datetime.now(UTC).timestamp()
    authority = Authority.create("cluster.local", now)
    server = _context(tmp_path, authority, ssl.PROTOCOL_TLS_SERVER, now)
    client = _context(tmp_path, authority, ssl.PROTOCOL_TLS_CLIENT, now)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    client_side = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(4):
        for side in (client_side, server_side):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    for side in (client_side, server_side):
        peer = side.getpeercert()
        assert peer is not None
        assert ("URI", str(IDENTITY)) in peer["subjectAltName"]


def _context(directory: Path, authority: Authority, protocol: int, now: float) -> ssl.SSLContext:
    chain = authority.sign(KEY.public_key(), IDENTITY, 60, now, dns_names=["localhost"])
    path = directory / "pair.pem"
    path.write_bytes(key_to_pem(KEY) + chain_to_pem(chain[:1]))
    context = ssl.SSLContext(protocol)
    context.load_cert_chain(path)
    context.load_verify_locations(cadata=authority.bundle.to_pem().decode())
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    return context
