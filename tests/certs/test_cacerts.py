"""Authorities of one's own: both layouts, and every fault named with its file."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from shutil import which

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from certs.authority import Authority
from certs.cacerts import load_cacerts, save_cacerts
from certs.errors import CertificateError
from certs.files import write_secret
from certs.keys import PrivateKey, generate_key, key_to_pem
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, chain_to_pem, check_chain_order

NOW = 1_800_000_000.0
DAY_S = 86400
WORKLOAD = SpiffeId("corp.example", "/ns/a/sa/b")


class Maker:
    """A certificate authority of somebody else's, with what they may get wrong."""

    def __init__(
        self, name: str, issuer: Maker | None = None, key: PrivateKey | None = None,
        *, path_length: int | None = None, ca: bool = True, days: int = 100,
        permitted: tuple[str, ...] = (), excluded: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.key = key or generate_key()
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        signer = issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.fromtimestamp(NOW - DAY_S, UTC))
            .not_valid_after(datetime.fromtimestamp(NOW + days * DAY_S, UTC))
            .add_extension(x509.BasicConstraints(ca, path_length if ca else None), critical=True)
            .add_extension(
                x509.KeyUsage(True, False, False, False, False, ca, ca, False, False), critical=True
            )
        )
        if permitted or excluded:
            limits = [
                [x509.UniformResourceIdentifier(host) for host in hosts] or None
                for hosts in (permitted, excluded)
            ]
            builder = builder.add_extension(x509.NameConstraints(*limits), critical=True)
        self.certificate: Certificate = builder.sign(signer.key, hashes.SHA256())


def put(folder: Path, maker: Maker, others: list[Maker], roots: list[Maker]) -> Path:
    """Istio's four files."""
    folder.mkdir(exist_ok=True)
    write_secret(folder / "ca-key.pem", key_to_pem(maker.key))
    (folder / "ca-cert.pem").write_bytes(chain_to_pem([maker.certificate]))
    chain = [maker.certificate, *(other.certificate for other in others)]
    (folder / "cert-chain.pem").write_bytes(chain_to_pem(chain))
    (folder / "root-cert.pem").write_bytes(chain_to_pem([root.certificate for root in roots]))
    return folder


def load(folder: Path, now: float | None = NOW) -> Authority:
    return load_cacerts(folder, now, "corp.example")


@pytest.fixture(scope="module")
def root() -> Maker:
    return Maker("Corp root", key=ec.generate_private_key(ec.SECP384R1()))


def test_two_intermediates_below_a_root(tmp_path: Path, root: Maker) -> None:
    policy = Maker("Corp policy CA", root, rsa.generate_private_key(65537, 2048))
    mesh = Maker("Corp mesh CA", policy, path_length=0)
    authority = load(put(tmp_path, mesh, [policy, root], [root]))
    assert authority.path == (mesh.certificate, policy.certificate, root.certificate)
    chain = authority.sign(generate_key().public_key(), WORKLOAD, 60, NOW)
    assert chain[1:] == authority.path
    check_chain_order(chain)
    assert authority.bundle.roots == (root.certificate,)


def test_the_layout_of_a_tls_secret(tmp_path: Path, root: Maker) -> None:
    policy = Maker("Corp policy CA", root)
    mesh = Maker("Corp mesh CA", policy)
    write_secret(tmp_path / "tls.key", key_to_pem(mesh.key))
    (tmp_path / "tls.crt").write_bytes(chain_to_pem([mesh.certificate, policy.certificate]))
    (tmp_path / "ca.crt").write_bytes(chain_to_pem([root.certificate]))
    assert load(tmp_path).path == (mesh.certificate, policy.certificate, root.certificate)
    # As in istiod, it wins over the other layout.
    put(tmp_path, root, [], [root])
    assert load(tmp_path).certificate == mesh.certificate


def test_a_chain_file_is_not_needed_where_the_root_signs(tmp_path: Path, root: Maker) -> None:
    mesh = Maker("Corp mesh CA", root)
    (put(tmp_path, mesh, [], [root]) / "cert-chain.pem").unlink()
    assert load(tmp_path).path == (mesh.certificate, root.certificate)


def test_further_roots_are_trusted_too(tmp_path: Path, root: Maker) -> None:
    other = Maker("Other root")
    authority = load(put(tmp_path, Maker("Corp mesh CA", root), [], [other, root]))
    assert authority.root == root.certificate
    assert authority.bundle.roots == (other.certificate, root.certificate)


def test_saved_is_loaded(tmp_path: Path, root: Maker) -> None:
    policy = Maker("Corp policy CA", root)
    authority = load(put(tmp_path / "in", Maker("Corp mesh CA", policy), [policy], [root]))
    save_cacerts(tmp_path / "out", authority)
    save_cacerts(tmp_path / "out", authority)
    assert load(tmp_path / "out").id == authority.id
    with pytest.raises(CertificateError, match="holds another authority"):
        save_cacerts(tmp_path / "out", Authority.create("corp.example", NOW))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["in", "out"]


def test_an_empty_folder_is_told_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"needs ca-cert\.pem, ca-key\.pem, .* or tls\.crt"):
        load(tmp_path)


def test_the_trust_domain_must_be_said_and_fit(tmp_path: Path, root: Maker) -> None:
    put(tmp_path, root, [], [root])
    with pytest.raises(CertificateError, match="names no trust domain: say which it is for"):
        load_cacerts(tmp_path, NOW)
    save_cacerts(tmp_path / "own", Authority.create("cluster.local", NOW))
    assert load_cacerts(tmp_path / "own", NOW).trust_domain == "cluster.local"
    with pytest.raises(CertificateError, match=r"trust domain cluster\.local, not corp\.example"):
        load(tmp_path / "own")


def other_key(folder: Path) -> None:
    write_secret(folder / "ca-key.pem", key_to_pem(generate_key()))


def weak_key(folder: Path) -> None:
    write_secret(folder / "ca-key.pem", key_to_pem(rsa.generate_private_key(65537, 1024)))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (other_key, r"ca-key\.pem is not the key of .*ca-cert\.pem"),
        (weak_key, r"ca-key\.pem: RSA key of 1024 bits"),
        (lambda folder: (folder / "ca-key.pem").write_bytes(b"-----BEGIN"), r"ca-key\.pem: priv"),
        (lambda folder: (folder / "ca-key.pem").chmod(0o644), "chmod 600 .*defaultMode 0400"),
        (lambda folder: (folder / "ca-key.pem").unlink(), r"ca-key\.pem: No such file"),
        (lambda folder: (folder / "root-cert.pem").unlink(), r"root-cert\.pem: No such file"),
        (lambda folder: (folder / "root-cert.pem").write_bytes(b""), r"root-cert\.pem holds no"),
        (lambda folder: (folder / "cert-chain.pem").write_bytes(b"?"), r"cert-chain\.pem holds no"),
        (lambda folder: (folder / "cert-chain.pem").unlink(), "its issuer 'CN=Corp policy CA' is"),
    ],
)  # fmt: skip
def test_faults_are_named_with_their_file(
    tmp_path: Path, root: Maker, damage: Callable[[Path], object], complaint: str
) -> None:
    policy = Maker("Corp policy CA", root)
    put(tmp_path, Maker("Corp mesh CA", policy), [policy], [root])
    damage(tmp_path)
    with pytest.raises(CertificateError, match=complaint) as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_leaf_is_no_authority(tmp_path: Path, root: Maker) -> None:
    put(tmp_path, Maker("A server", root, ca=False), [], [root])
    with pytest.raises(CertificateError, match=r"ca-cert\.pem is not a CA .*: have it issued as"):
        load(tmp_path)


def test_path_lengths_hold(tmp_path: Path) -> None:
    root = Maker("Corp root", path_length=0)
    below = Maker("Corp mesh CA", root)
    with pytest.raises(CertificateError, match="'CN=Corp root' allows 0 authorities below it"):
        load(put(tmp_path, below, [], [root]))
    root = Maker("Corp root", path_length=1)
    load(put(tmp_path, Maker("Corp mesh CA", root), [], [root]))


@pytest.mark.parametrize(("days", "late"), [(10, "Corp mesh CA"), (100, "Corp root")])
def test_who_expires_first_is_named(tmp_path: Path, days: int, late: str) -> None:
    root = Maker("Corp root", days=50)
    put(tmp_path, Maker("Corp mesh CA", root, days=days), [], [root])
    assert load(tmp_path).not_after == NOW + min(days, 50) * DAY_S
    with pytest.raises(CertificateError, match=f"'CN={late}' expired at"):
        load(tmp_path, NOW + min(days, 50) * DAY_S + 1)
    assert load(tmp_path, None).root == root.certificate


def test_a_clock_that_is_behind(tmp_path: Path, root: Maker) -> None:
    put(tmp_path, root, [], [root])
    with pytest.raises(CertificateError, match=r"not valid before .*: check the clock"):
        load(tmp_path, NOW - 2 * DAY_S)


@pytest.mark.parametrize(
    ("permitted", "excluded", "allowed"),
    [
        (("corp.example",), (), True),
        ((".example",), (), True),
        (("other.example",), (), False),
        ((), ("corp.example",), False),
        ((), (".corp.example",), True),
        ((".example",), ("corp.example",), False),
    ],
)
def test_name_constraints_are_seen_before_the_first_handshake(
    tmp_path: Path, permitted: tuple[str, ...], excluded: tuple[str, ...], allowed: bool
) -> None:
    root = Maker("Corp root", permitted=permitted, excluded=excluded)
    put(tmp_path, Maker("Corp mesh CA", root), [], [root])
    if allowed:
        load(tmp_path)
        return
    with pytest.raises(CertificateError, match=r"does not allow .* corp\.example .name constr"):
        load(tmp_path)


def test_a_weak_key_in_the_path(tmp_path: Path, root: Maker) -> None:
    policy = Maker("Corp policy CA", root, rsa.generate_private_key(65537, 1024))
    put(tmp_path, Maker("Corp mesh CA", policy), [policy], [root])
    with pytest.raises(CertificateError, match=r"'CN=Corp policy CA': .*RSA key of 1024 bits"):
        load(tmp_path)


@pytest.mark.skipif(which("openssl") is None, reason="no openssl on this machine")
def test_a_signature_with_sha1(tmp_path: Path, root: Maker) -> None:
    """cryptography makes none: openssl does."""
    mesh = Maker("Corp mesh CA", root)
    put(tmp_path, mesh, [], [root])
    request = x509.CertificateSigningRequestBuilder().subject_name(mesh.name)
    (tmp_path / "csr").write_bytes(
        request.sign(mesh.key, hashes.SHA256()).public_bytes(Encoding.PEM)
    )
    write_secret(tmp_path / "root.key", key_to_pem(root.key))
    (tmp_path / "extensions").write_text("basicConstraints=CA:TRUE\nkeyUsage=keyCertSign\n")
    command = "openssl x509 -req -in csr -CA root-cert.pem -CAkey root.key -CAcreateserial"
    command += " -sha1 -extfile extensions -days 9999 -out ca-cert.pem"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True, timeout=60)
    with pytest.raises(CertificateError, match="'CN=Corp mesh CA' is signed with sha1"):
        load(tmp_path)


def test_a_loop_of_certificates_ends(tmp_path: Path) -> None:
    """Two that have signed each other lead nowhere."""
    one, two = Maker("one"), Maker("two")
    one_by_two, two_by_one = Maker("one", two, one.key), Maker("two", one, two.key)
    put(tmp_path, one_by_two, [two_by_one, one_by_two], [Maker("root")])
    with pytest.raises(CertificateError, match="no trusted root signs"):
        load(tmp_path)


def test_of_several_paths_one_that_leads_to_a_root_is_taken(tmp_path: Path, root: Maker) -> None:
    """The policy CA is certified by a root that nobody here trusts, too, and that stands first."""
    policy = Maker("Corp policy CA", root)
    elsewhere = Maker("Corp policy CA", Maker("Other root"), policy.key)
    put(tmp_path, Maker("Corp mesh CA", policy), [elsewhere, elsewhere, policy], [root])
    assert load(tmp_path).path[1:] == (policy.certificate, root.certificate)


def test_an_intermediate_among_the_roots_is_no_end(tmp_path: Path, root: Maker) -> None:
    policy = Maker("Corp policy CA", root)
    mesh = Maker("Corp mesh CA", policy)
    path = load(put(tmp_path, mesh, [], [policy, root])).path
    assert path == (mesh.certificate, policy.certificate, root.certificate)
    with pytest.raises(CertificateError, match="no trusted root signs 'CN=Corp policy CA'"):
        load(put(tmp_path, mesh, [], [policy]))


def test_a_bundle_of_another_root(tmp_path: Path, root: Maker) -> None:
    put(tmp_path, Maker("Corp mesh CA", root), [], [Maker("Corp root")])
    with pytest.raises(CertificateError, match=r"root-cert\.pem.*no trusted root signs"):
        load(tmp_path)
