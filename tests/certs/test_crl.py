"""Revocation lists that come with an authority: read, believed or refused, and kept."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from shutil import which

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certs import cli, steps
from certs.authority import Authority
from certs.cacerts import CRL_PEM, load_cacerts, save_cacerts
from certs.crl import MAX_LISTS, covers, read_lists
from certs.doctor import Severity, examine
from certs.errors import CertificateError
from certs.keys import PrivateKey, generate_key
from certs.profiles import make_crl
from certs.spiffe import SpiffeId
from certs.store import load_store
from certs.x509 import Certificate, chain_to_pem

NOW = 1_800_000_000.0
DAY_S = 86400.0
ROOT = Authority.create("td", NOW)
MESH, OTHER = (ROOT.create_intermediate(NOW) for _ in range(2))
LEAF = SpiffeId("td", "/a")


def crl(
    issuer: Authority,
    *serials: int,
    made_at: float = NOW - DAY_S,
    ends_at: float | None = NOW + 29 * DAY_S,
    key: PrivateKey | None = None,
    name: Certificate | None = None,
    more: x509.ExtensionType | None = None,
) -> bytes:
    """As openssl makes it, or with what somebody got wrong."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name((name or issuer.certificate).subject)
        .last_update(datetime.fromtimestamp(made_at, UTC))
        .next_update(datetime.fromtimestamp(ends_at or NOW + DAY_S, UTC))
    )
    if more is not None:
        builder = builder.add_extension(more, critical=True)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial)
        at = datetime.fromtimestamp(NOW - DAY_S, UTC)
        builder = builder.add_revoked_certificate(entry.revocation_date(at).build())
    return builder.sign(key or issuer.private_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def folder_of(authority: Authority, path: Path, lists: bytes) -> Path:
    save_cacerts(path, authority)
    (path / CRL_PEM).write_bytes(lists)
    return path


def test_lists_of_the_root_and_of_the_authority_itself(tmp_path: Path) -> None:
    lists = crl(ROOT, OTHER.certificate.serial_number) + crl(MESH, 0xBAD)
    authority = load_cacerts(folder_of(MESH, tmp_path / "in", lists), NOW, "td")
    assert authority.id == MESH.id
    assert [one.verified for one in authority.lists] == [True, True]
    # Our own list repeats what the authority's keeper has listed: verifiers heed only one.
    ours = x509.load_pem_x509_crl(authority.crl({7: NOW}, NOW))
    assert {one.serial_number for one in ours} == {7, 0xBAD}
    (of_root,) = (one for one in authority.lists if not one.is_of(MESH.certificate))
    assert of_root.serials.keys() == {OTHER.certificate.serial_number}
    assert covers(authority.path, authority.lists, NOW)
    assert not covers(authority.path, authority.lists, NOW + 30 * DAY_S)


def test_saved_is_loaded_and_goes_to_an_intermediate_of_the_root(tmp_path: Path) -> None:
    folder = folder_of(ROOT, tmp_path / "root", crl(ROOT, 5))
    authority = load_cacerts(folder, NOW, "td").create_intermediate(NOW)
    save_cacerts(tmp_path / "saved", authority)
    again = load_cacerts(tmp_path / "saved", None, "td")
    assert again.lists == authority.lists
    assert [one.serials.keys() for one in again.lists] == [{5}]


@pytest.mark.parametrize("text", [b"", b"\n"])
def test_an_empty_file_holds_no_list(text: bytes) -> None:
    assert read_lists(text, "f", ROOT.path, NOW) == ()


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (b"garbage", "f holds no PEM revocation list"),
        (chain_to_pem(ROOT.path), "f holds no PEM revocation list"),
        (crl(ROOT)[:200], "cut off"),
        (crl(ROOT) + crl(ROOT)[:200], "cut off"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "list 1 of f is corrupt"),
        (crl(ROOT, key=generate_key()), "not signed by the issuer that it names"),
        (crl(ROOT) + crl(MESH, key=ROOT.private_key), "list 2 of f is not signed"),
        (crl(ROOT, ends_at=NOW), r"list 1 of f, by '.*', has ended \(nextUpdate\)"),
        (crl(ROOT, made_at=NOW + 9), "not valid yet: check the clock"),
        (crl(ROOT, more=x509.DeltaCRLIndicator(1)), "no complete list"),
        (
            crl(ROOT, more=x509.IssuingDistributionPoint(
                None, None, True, False, None, False, False)),
            r"no complete list of its issuer \(extension 2.5.29.28\)",
        ),
        (crl(ROOT) * (MAX_LISTS + 1), "too large"),
    ],
)  # fmt: skip
def test_a_bad_list_is_refused_with_the_reason(pem: bytes, why: str) -> None:
    with pytest.raises(CertificateError, match=why):
        read_lists(pem, "f", MESH.path, NOW)


def test_a_list_of_another_issuer_of_the_same_name_is_refused() -> None:
    stranger = Authority.create("td", NOW)
    pem = make_crl(stranger.certificate, stranger.private_key, {}, NOW)
    with pytest.raises(CertificateError, match="its key identifier differs"):
        read_lists(pem, "f", ROOT.path, NOW)


def test_a_list_of_an_issuer_that_is_not_here_is_kept_for_who_knows_it(tmp_path: Path) -> None:
    stranger = Authority.create("elsewhere", NOW)
    lists = read_lists(crl(stranger, 9), "f", ROOT.path, NOW)
    assert [one.verified for one in lists] == [False]
    leaf = ROOT.sign(generate_key().public_key(), LEAF, 60, NOW)[0]
    assert not lists[0].names(leaf)
    folder = folder_of(ROOT, tmp_path / "in", crl(stranger, 9))
    (found,) = [one for one in examine(folder, NOW) if one.what == "revocation list"]
    assert "only proxies verify it" in found.text


def test_the_newest_list_of_an_issuer_counts() -> None:
    old, new = crl(ROOT, 1, made_at=NOW - 2 * DAY_S), crl(ROOT, 2)
    for pem in (old + new, new + old):
        (one,) = read_lists(pem, "f", ROOT.path, NOW)
        assert one.serials.keys() == {2}


def test_an_authority_that_its_root_has_revoked_is_refused(tmp_path: Path) -> None:
    folder = folder_of(MESH, tmp_path / "in", crl(ROOT, MESH.certificate.serial_number))
    with pytest.raises(CertificateError, match=r"is revoked by the list of .*rotate --from"):
        load_cacerts(folder, NOW, "td")


def test_init_takes_them_and_others_take_their_place(tmp_path: Path) -> None:
    source, state = folder_of(MESH, tmp_path / "in", crl(ROOT, 1)), tmp_path / "state"
    cli.init(state, "td", NOW, source=source)
    assert "CN=Weft root CA,O=td: 1 certificate" in cli.show(state, NOW)
    told = cli.relist(state, crl(ROOT, 1, 2, made_at=NOW - 5), "the file", NOW)
    assert "2 certificates" in told
    before = load_store(state, NOW).authority.lists
    for pem, why in (
        (crl(ROOT, 1), "the file: the list of .* is older"),
        (crl(ROOT, MESH.certificate.serial_number, made_at=NOW), "is revoked by the list"),
        (b"garbage", "the file holds no PEM"),
    ):
        with pytest.raises(CertificateError, match=why):
            steps.relist(state, pem, "the file", NOW)
        assert load_store(state, NOW).authority.lists == before
    assert cli.relist(state, b"", "the file", NOW) == "no revocation list came with the authority"
    assert load_store(state, NOW).authority.lists == ()


def test_the_doctor_warns_before_a_list_ends(tmp_path: Path) -> None:
    folder = folder_of(MESH, tmp_path / "in", crl(ROOT, 1) + crl(MESH, 2))
    for days, severity in ((0, Severity.OK), (20, Severity.WARNING), (30, Severity.ERROR)):
        found = [one for one in examine(folder, NOW + days * DAY_S) if "list" in one.what]
        assert sorted(one.severity for one in found) == [Severity.OK, severity]
    assert any("--crl" in one.text for one in found)


@pytest.mark.skipif(which("openssl") is None, reason="needs the openssl program")
def test_openssl_refuses_an_intermediate_that_the_list_of_its_root_names(tmp_path: Path) -> None:
    lists = crl(ROOT, OTHER.certificate.serial_number)
    authority = load_cacerts(folder_of(MESH, tmp_path / "in", lists), NOW, "td")
    of_other = make_crl(OTHER.certificate, OTHER.private_key, {}, NOW)
    pem = authority.crl({}, NOW) + authority.lists[0].pem + of_other
    (tmp_path / "crl.pem").write_bytes(pem)
    (tmp_path / "root.pem").write_bytes(ROOT.bundle.to_pem())
    for signer, said in ((MESH, "OK"), (OTHER, "certificate revoked")):
        chain = signer.sign(generate_key().public_key(), LEAF, 600, NOW)
        (tmp_path / "leaf.pem").write_bytes(chain_to_pem(chain[:1]))
        (tmp_path / "more.pem").write_bytes(chain_to_pem(chain[1:-1]))
        command = [
            "openssl", "verify", "-attime", f"{NOW:.0f}", "-crl_check_all", "-CAfile", "root.pem",
            "-CRLfile", "crl.pem", "-untrusted", "more.pem", "leaf.pem",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert said in done.stdout + done.stderr
