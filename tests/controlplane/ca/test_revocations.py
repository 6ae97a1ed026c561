"""What is revoked: by number or by name, kept on disk, and told to proxies as CRLs."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certs import cli, steps
from certs.authority import Authority
from certs.cacerts import CRL_PEM, save_cacerts
from certs.errors import CertificateError
from certs.issue_log import ISSUE_LOG, Issued, IssueLog
from certs.keys import generate_key
from certs.spiffe import SpiffeId
from certs.store import CA_FOLDER, open_store
from certs.x509 import Certificate
from controlplane.ca import revocations
from controlplane.ca.envoy_secrets import EnvoySecrets
from controlplane.ca.live import LiveAuthority
from controlplane.ca.records import Records
from controlplane.ca.revocations import (
    ENDS_EARLY_S,
    MAX_REVOCATIONS,
    REVOKED_FILE,
    Revocation,
    Revocations,
    Told,
)
from tests.support.live import stored as stored_as

NOW = 1_800_000_000.0
CART = SpiffeId.workload("cluster.local", "default", "cart")
BLOCK = rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----\n"
SHOP = SpiffeId.workload("cluster.local", "default", "shop")


class Ca:
    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.authority = LiveAuthority(open_store(state_dir, "cluster.local", NOW))
        self.log = IssueLog(state_dir / CA_FOLDER)
        self.revocations = Revocations(state_dir, self.authority, lambda: NOW)

    def issue(self, identity: SpiffeId, ttl_s: float = 600.0) -> Certificate:
        leaf = self.authority.sign(generate_key().public_key(), identity, ttl_s, NOW)[0]
        serial = f"{leaf.serial_number:x}"
        self.log.record(Issued(serial, str(identity), "a test", NOW + ttl_s, NOW))
        return leaf

    def listed(self) -> list[set[int]]:
        """The serial numbers of each CRL."""
        pem = self.revocations.crl()
        blocks = [b + b"-----END X509 CRL-----\n" for b in pem.split(b"-----END X509 CRL-----\n")]
        crls = [x509.load_pem_x509_crl(block) for block in blocks[:-1]]
        return [{one.serial_number for one in crl} for crl in crls]


@pytest.fixture
def ca(tmp_path: Path) -> Ca:
    return Ca(tmp_path)


def test_keys_that_plain_envoys_were_given_are_revoked_with_their_identity(ca: Ca) -> None:
    keys = EnvoySecrets(ca.authority, record=Records(ca.log))
    given = keys.certificate(CART, NOW)
    assert keys.certificate(CART, NOW + 1) is given
    keys.certificate(SHOP, NOW)
    ca.revocations.revoke(str(CART), "leaked")
    assert ca.listed() == [{given.leaf.serial_number}]


def below_a_root(state_dir: Path, *lists: bytes) -> tuple[Authority, Revocations]:
    """An authority of ours below a root that has made lists, NOW."""
    root = Authority.create("cluster.local", NOW)
    save_cacerts(state_dir / "in", root.create_intermediate(NOW))
    made = lists or (root.crl({0xBAD: NOW}, NOW),)
    (state_dir / "in" / CRL_PEM).write_bytes(b"".join(made))
    cli.init(state_dir / "state", "cluster.local", NOW, source=state_dir / "in")
    live = LiveAuthority(open_store(state_dir / "state", "cluster.local", NOW))
    return root, Revocations(state_dir / "state", live, lambda: NOW)


def test_lists_that_came_with_the_authority_go_to_proxies_with_ours(tmp_path: Path) -> None:
    _, revocations = below_a_root(tmp_path)
    assert revocations.crl().count(b"BEGIN X509 CRL") == 2
    assert revocations.told().whole_chains
    revocations.revoke("abc", "leaked")
    crls = [x509.load_pem_x509_crl(one) for one in re.findall(BLOCK, revocations.crl(), re.DOTALL)]
    assert [[one.serial_number for one in crl] for crl in crls] == [[0xABC], [0xBAD]]


def test_without_a_list_of_the_root_only_leaves_are_looked_up(tmp_path: Path) -> None:
    stranger = Authority.create("elsewhere", NOW)
    _, revocations = below_a_root(tmp_path, stranger.crl({1: NOW}, NOW))
    assert revocations.crl().count(b"BEGIN X509 CRL") == 2
    assert not revocations.told().whole_chains


def test_a_list_that_ends_is_left_out_in_time_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = Authority.create("cluster.local", NOW)
    name = root.certificate.subject
    start, end = (datetime.fromtimestamp(NOW + at, UTC) for at in (-9, 900))
    builder = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(start)
    signed = builder.next_update(end).sign(root.private_key, hashes.SHA256())
    save_cacerts(tmp_path / "in", root.create_intermediate(NOW))
    (tmp_path / "in" / CRL_PEM).write_bytes(signed.public_bytes(Encoding.PEM))
    cli.init(tmp_path, "cluster.local", NOW, source=tmp_path / "in")
    now = [NOW]
    live = LiveAuthority(open_store(tmp_path, "cluster.local", NOW))
    revocations = Revocations(tmp_path, live, lambda: now[0])
    assert (revocations.crl().count(b"BEGIN"), revocations.told().whole_chains) == (2, True)
    now[0] += 900 - ENDS_EARLY_S
    assert (revocations.crl().count(b"BEGIN"), revocations.told().whole_chains) == (1, False)
    assert "bring a newer one" in caplog.text


def test_a_certificate_on_a_list_that_came_is_refused_here_too(tmp_path: Path) -> None:
    root, revocations = below_a_root(tmp_path)
    other = root.create_intermediate(NOW)
    listed = root.crl({other.certificate.serial_number: NOW}, NOW + 1)
    state = steps.relist(tmp_path / "state", listed, "a test", NOW + 1)
    revocations._authority.swap(state)
    assert "revoked by the list of" in revocations.why(other.certificate)
    assert revocations.why(state.authority.certificate) == ""


def test_an_authority_that_may_not_sign_lists_says_so(tmp_path: Path) -> None:
    key = generate_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "no cRLSign")])
    usage = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
        .public_key(key.public_key())
        .not_valid_before(datetime.fromtimestamp(NOW - 9, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 9999, UTC))
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(usage, critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    live = LiveAuthority(stored_as(Authority(certificate, key, trust_domain="cluster.local")))
    revocations = Revocations(tmp_path, live, lambda: NOW)
    with pytest.raises(CertificateError, match="no cRLSign"):
        revocations.revoke("abc", "leaked")
    assert revocations.all() == ()
    # An identity needs no list.
    revocations.revoke(str(CART), "leaked")
    assert revocations.told() == Told(identities=(str(CART),))


def test_a_serial_stays_listed_when_the_issue_log_forgets_it(ca: Ca) -> None:
    leaf = ca.issue(CART)
    ca.revocations.revoke(str(CART), "leaked")
    (ca.state_dir / CA_FOLDER / ISSUE_LOG).write_bytes(b"")
    ca.revocations.revoke("abc", "another one")
    assert ca.listed() == [{leaf.serial_number, 0xABC}]
    ca.revocations.restore(str(CART))
    assert ca.listed() == [{0xABC}]


def test_more_serials_than_a_list_can_have_are_told_and_the_longest_living_are_listed(
    ca: Ca, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(revocations, "MAX_LISTED", 2)
    ca.issue(CART, 300.0)
    longer = ca.issue(CART, 600.0)
    ca.revocations.revoke(str(CART), "leaked")
    assert "CRL" not in caplog.text
    ca.revocations.revoke("abc", "another one")
    assert ca.listed() == [{longer.serial_number, 0xABC}]
    assert "peers take the 1 that end first until they end, at the latest in 300 s" in caplog.text
    assert ca.revocations.why_not(CART)


def test_nothing_is_told_while_nothing_is_revoked(ca: Ca) -> None:
    leaf = ca.issue(CART)
    assert (ca.revocations.crl(), ca.revocations.why(leaf)) == (b"", "")
    assert ca.revocations.why_not(CART) == ""


@pytest.mark.parametrize("spelled", ["{:x}", "0x{:X}", "00{:x}", " {:x} "])
def test_a_serial_number(ca: Ca, spelled: str) -> None:
    leaf, other = ca.issue(CART), ca.issue(CART)
    ca.revocations.revoke(spelled.format(leaf.serial_number), "stolen laptop")
    assert ca.listed() == [{leaf.serial_number}]
    assert ca.revocations.why(leaf).endswith("is revoked: stolen laptop")
    assert ca.revocations.why(other) == ""
    assert ca.revocations.why_not(CART) == ""  # it may have another one


def test_an_identity_with_all_that_it_holds(ca: Ca) -> None:
    held = {ca.issue(CART).serial_number, ca.issue(CART).serial_number}
    ca.issue(CART, -10.0 + 10.1)
    other = ca.issue(SHOP)
    ca.revocations.revoke(str(CART), "")
    assert held <= ca.listed()[0]
    assert other.serial_number not in ca.listed()[0]
    assert "no reason given" in ca.revocations.why_not(CART)
    assert ca.revocations.why(ca.issue(CART))  # also what no log knows
    assert ca.revocations.why(other) == ca.revocations.why_not(SHOP) == ""


def test_what_is_taken_back_counts_again(ca: Ca) -> None:
    leaf = ca.issue(CART)
    ca.revocations.revoke(str(CART), "a mistake")
    ca.revocations.restore(str(CART))
    assert (ca.revocations.crl(), ca.revocations.why(leaf), ca.revocations.all()) == (b"", "", ())
    with pytest.raises(CertificateError, match="is not revoked"):
        ca.revocations.restore(str(CART))


def test_each_authority_that_has_issued_has_a_list(ca: Ca) -> None:
    leaf = ca.issue(CART)
    ca.revocations.revoke(f"{leaf.serial_number:x}", "")
    old = ca.authority.authority
    ca.authority.swap(stored_as(old, other := Authority.create("cluster.local", NOW)))
    assert ca.listed() == [{leaf.serial_number}]  # nobody has a leaf of the other one
    ca.authority.swap(replace(stored_as(other, old), other=old))
    assert ca.listed() == [{leaf.serial_number}] * 2
    blocks = ca.revocations.crl().split(b"-----BEGIN")[1:]
    for block, authority in zip(blocks, (other, old), strict=True):
        crl = x509.load_pem_x509_crl(b"-----BEGIN" + block)
        key = authority.certificate.public_key()
        assert crl.is_signature_valid(key)  # type: ignore[arg-type]


def test_they_are_kept_over_a_restart(ca: Ca) -> None:
    leaf = ca.issue(CART)
    ca.revocations.revoke(str(CART), "gone")
    ca.revocations.revoke("abc", "lost")
    again = Revocations(ca.state_dir, ca.authority, lambda: NOW)
    assert again.all() == (Revocation(str(CART), "gone", NOW), Revocation("abc", "lost", NOW))
    assert again.why(leaf)


@pytest.mark.parametrize(
    "what", ["", "cart", "0x", "xyz", "spiffe://", "1" * 41, "spiffe://a b/c", "spiffe://td"]
)
def test_what_is_neither_is_refused(ca: Ca, what: str) -> None:
    with pytest.raises(CertificateError):
        ca.revocations.revoke(what, "")
    assert ca.revocations.all() == ()


def test_a_spoiled_file_is_refused_and_left_alone(ca: Ca) -> None:
    ca.revocations.revoke("abc", "")
    path = ca.state_dir / REVOKED_FILE
    path.write_bytes(path.read_bytes().replace(b"abc", b"abd"))
    spoiled = path.read_bytes()
    with pytest.raises(CertificateError, match=r"revoked\.json"):
        Revocations(ca.state_dir, ca.authority, lambda: NOW)
    assert path.read_bytes() == spoiled


def test_a_disk_that_cannot_be_written_changes_nothing(ca: Ca) -> None:
    ca.revocations._path = ca.state_dir / "missing" / REVOKED_FILE
    with pytest.raises(OSError, match="No such file"):
        ca.revocations.revoke("abc", "")
    assert (ca.revocations.all(), ca.revocations.crl()) == ((), b"")


def test_there_is_a_bound(ca: Ca) -> None:
    ca.revocations._all = {f"{n:x}": Revocation(f"{n:x}", "", NOW) for n in range(MAX_REVOCATIONS)}
    with pytest.raises(CertificateError, match="take some back"):
        ca.revocations.revoke("abcdef0123", "")
