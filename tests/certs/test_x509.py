"""Facts of certificates: chains, names, validity; the reference libraries' good and bad files."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from certs.authority import Authority
from certs.errors import CertificateError
from certs.keys import generate_key, key_from_pem
from certs.spiffe import SpiffeId
from certs.x509 import (
    Certificate,
    certificate_to_pem,
    chain_from_pem,
    chain_to_pem,
    check_chain_order,
    check_svid,
    check_valid_at,
    der_to_pem,
    matches_key,
    spiffe_id,
    uri_sans,
    validity,
)
from tests.support import pki
from tests.support.cases import case_folder

NOW = 1_800_000_000.0
IDENTITY = SpiffeId.workload("cluster.local", "default", "cart")


@pytest.fixture(scope="module")
def pem() -> bytes:
    """A leaf and its root."""
    authority = Authority.create("cluster.local", NOW)
    return chain_to_pem(authority.sign(generate_key().public_key(), IDENTITY, 3600, NOW))


def test_a_chain_round_trips_among_keys_and_comments(pem: bytes) -> None:
    text = b"# a comment\n" + pem.replace(b"\n", b"\r\n") + b"-----BEGIN EC PRIVATE KEY-----\nAA"
    chain = chain_from_pem(text)
    assert chain_to_pem(chain) == pem
    assert "".join(map(certificate_to_pem, chain)).encode() == pem
    ders = [one.public_bytes(Encoding.DER) for one in chain]
    assert "".join(map(der_to_pem, ders)).encode() == pem


@given(st.binary(min_size=1, max_size=200))
def test_pem_of_any_bytes(data: bytes) -> None:
    """RFC 7468 section 2: lines of 64 characters, only the last one shorter."""
    first, *lines, last = der_to_pem(data).splitlines()
    assert (first, last) == ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----")
    assert b64decode("".join(lines)) == data
    assert {len(line) for line in lines[:-1]} <= {64} and 0 < len(lines[-1]) <= 64


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda pem: b"", "the file holds no PEM certificate"),
        (lambda pem: b"hello\n", "the file holds no PEM certificate"),
        (lambda pem: pem[:-40], "the file is cut off"),
        (lambda pem: pem[:200], "the file is cut off"),
        (lambda pem: pem[:200] + b"\n" + pem, "certificate 1 of the file is corrupt"),
        (lambda pem: pem.replace(b"M", b"!", 1), "certificate 1 of the file is corrupt"),
        (lambda pem: pem[:-80] + pem[-60:], "certificate 2 of the file is corrupt"),
    ],
)
def test_damage_is_found_and_located(damage: object, complaint: str, pem: bytes) -> None:
    assert callable(damage)
    with pytest.raises(CertificateError, match=complaint):
        chain_from_pem(damage(pem), "the file")


def test_validity_bounds(pem: bytes) -> None:
    leaf = chain_from_pem(pem)[0]
    not_before, not_after = validity(leaf)
    check_valid_at(leaf, not_before)
    check_valid_at(leaf, not_after)
    with pytest.raises(CertificateError, match="not valid before"):
        check_valid_at(leaf, not_before - 1)
    with pytest.raises(CertificateError, match=r"leaf\.pem expired at 2027-"):
        check_valid_at(leaf, not_after + 1, "leaf.pem")


def test_an_identity_is_exactly_one_uri() -> None:
    authority = pki.Authority()
    two = authority.issue(uris=("spiffe://td/a", "spiffe://td/b"), dns=("spiffe.example",))
    (certificate,) = chain_from_pem(two.certificate.encode())
    assert uri_sans(certificate) == ("spiffe://td/a", "spiffe://td/b")
    with pytest.raises(CertificateError, match="2 URI names"):
        spiffe_id(certificate)
    (none,) = chain_from_pem(authority.issue(dns=("a.example",)).certificate.encode())
    with pytest.raises(CertificateError, match="0 URI names"):
        spiffe_id(none)


def test_a_certificate_without_key_usage_is_no_svid() -> None:
    pair = pki.Authority().issue(uris=("spiffe://td/a",), key_usage=False)
    with pytest.raises(CertificateError, match="no digitalSignature"):
        check_svid(chain_from_pem(pair.certificate.encode()))


def test_check_svid(pem: bytes) -> None:
    leaf, root = chain_from_pem(pem)
    assert check_svid((leaf, root)) == IDENTITY
    for chain, complaint in (
        ((), "empty"),
        ((root,), "has no path"),
        ((leaf, leaf), "not a CA certificate"),
    ):
        with pytest.raises(CertificateError, match=complaint):
            check_svid(chain)


def test_chain_order(pem: bytes) -> None:
    leaf, root = chain_from_pem(pem)
    stranger = Authority.create("cluster.local", NOW).certificate
    check_chain_order((leaf, root))
    check_chain_order((leaf,))
    for chain in ((root, leaf), (leaf, stranger), (leaf, leaf)):
        with pytest.raises(CertificateError, match="certificate 1 of the chain"):
            check_chain_order(chain)


LEAF_DER = b64decode(
    b"".join(
        Authority.create("td", NOW)
        .sign(generate_key().public_key(), SpiffeId("td", "/a"), 60, NOW)[0]
        .public_bytes(Encoding.PEM)
        .splitlines()[1:-1]
    )
)


@given(st.integers(0, len(LEAF_DER) - 1), st.integers(0, 255))
@pytest.mark.filterwarnings("ignore:Parsed a")
def test_mutated_certificates_are_judged_not_crashed_on(position: int, octet: int) -> None:
    der = LEAF_DER[:position] + bytes([octet]) + LEAF_DER[position + 1 :]
    pem = b"-----BEGIN CERTIFICATE-----\n" + b64encode(der) + b"\n-----END CERTIFICATE-----\n"
    try:
        chain = chain_from_pem(pem)
        check_svid(chain)
        check_valid_at(chain[0], NOW)
        matches_key(chain[0], generate_key().public_key())
        check_chain_order((*chain, *chain))
    except CertificateError:
        pass


def test_matches_key() -> None:
    key = generate_key()
    leaf, root = Authority.create("td", NOW).sign(key.public_key(), SpiffeId("td", "/a"), 60, NOW)
    assert matches_key(leaf, key.public_key())
    assert not matches_key(root, key.public_key())


def test_go_spiffe_svid_table() -> None:
    """TestParse of go-spiffe's svid_test.go: files, and the expected identity or a refusal."""
    tables = json.loads((case_folder("spiffe-vectors") / "go_spiffe_tables.json").read_text())
    folder = case_folder("go-spiffe-testdata") / "svid" / "x509svid"
    (table,) = (
        table
        for table in tables["svid/x509svid/svid_test.go"]["tables"]
        if table["test"] == "TestParse"
    )
    for row in table["rows"]:
        try:
            chain = _load_svid(folder / row["certsPath"], folder / row["keyPath"])
        except CertificateError as error:
            assert "expErrContains" in row, f"{row['name']}: {error}"
            continue
        assert "expErrContains" not in row, row["name"]
        assert len(chain) == row["expNumCerts"], row["name"]
        assert f'"{spiffe_id(chain[0])}"' in row["expID"]["_go"]


def _load_svid(certificates: Path, key: Path) -> tuple[Certificate, ...]:
    chain = chain_from_pem(certificates.read_bytes(), certificates.name)
    check_svid(chain)
    if not matches_key(chain[0], key_from_pem(key.read_bytes()).public_key()):
        raise CertificateError("certificate does not match the private key")
    return chain


def test_py_spiffe_files() -> None:
    """The files whose name begins with `wrong` or is `corrupted` are refused, the others taken."""
    folder = case_folder("py-spiffe-testdata") / "x509-certs"
    seen = 0
    for path in sorted(folder.iterdir()):
        if path.suffix == ".der" or "key" in path.name:
            continue
        seen += 1
        bad = path.name.startswith("wrong") or path.name == "corrupted"
        try:
            check_svid(chain_from_pem(path.read_bytes()))
        except CertificateError:
            assert bad, path.name
        else:
            assert not bad, path.name
    assert seen >= 9


@pytest.mark.parametrize(
    ("file", "identity"),
    [
        ("samples/certs/workload-foo-cert.pem", "spiffe://trust-domain-foo/ns/foo/sa/foo"),
        (
            "tests/testdata/certs/default/cert-chain.pem",
            "spiffe://cluster.local/ns/default/sa/default",
        ),
        (
            "security/pkg/pki/testdata/spiffe-workload-cert.pem",
            "spiffe://foo.domain.com/ns/foo/sa/default",
        ),
    ],
)
def test_istio_workload_certificates(file: str, identity: str) -> None:
    pem = (case_folder("istio-pki") / file).read_bytes()
    assert str(check_svid(chain_from_pem(pem))) == identity
