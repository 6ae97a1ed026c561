"""Trust bundles: sets of roots, real ones too, as PEM files."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from certs.authority import Authority
from certs.bundle import TrustBundle
from certs.errors import CertificateError
from certs.keys import generate_key
from certs.spiffe import SpiffeId
from certs.x509 import chain_to_pem
from tests.support.cases import case_folder

NOW = 1_800_000_000.0


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    one, two = Authority.create("td", NOW), Authority.create("td", NOW)
    bundle = one.bundle.union(two.bundle).union(one.bundle)
    bundle.save(tmp_path / "root.pem")
    assert TrustBundle.load(tmp_path / "root.pem") == bundle
    assert bundle.roots == (one.certificate, two.certificate)
    assert stat.S_IMODE((tmp_path / "root.pem").stat().st_mode) == 0o644


def test_a_root_counts_once() -> None:
    authority = Authority.create("td", NOW)
    assert TrustBundle.from_pem(authority.bundle.to_pem() * 3).roots == (authority.certificate,)


def test_a_leaf_is_no_root() -> None:
    chain = Authority.create("td", NOW).sign(
        generate_key().public_key(), SpiffeId("td", "/a"), 60, NOW
    )
    with pytest.raises(CertificateError, match=r"certificate 2 of roots\.pem is not a CA"):
        TrustBundle.from_pem(chain_to_pem(reversed(chain)), "roots.pem")


def test_an_empty_bundle_is_none() -> None:
    with pytest.raises(CertificateError, match="no certificate"):
        TrustBundle(())
    with pytest.raises(CertificateError, match="holds no PEM certificate"):
        TrustBundle.from_pem(b"")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"nowhere\.pem: No such file"):
        TrustBundle.load(tmp_path / "nowhere.pem")


@pytest.mark.parametrize(
    ("file", "roots"),
    [
        ("samples/certs/root-cert.pem", 1),
        ("samples/certs/root-cert-combined.pem", 2),
        ("samples/certs/workload-foo-root-certs.pem", 2),
        ("security/pkg/pki/testdata/multilevelpki/ecc-root-cert.pem", 1),
        ("security/pkg/pki/testdata/root-cert-10y.pem", 1),
        ("tests/testdata/certs/pilot/root-cert.pem", 1),
    ],
)
def test_real_roots_without_some_extensions(file: str, roots: int) -> None:
    assert len(TrustBundle.load(case_folder("istio-pki") / file).roots) == roots


def test_go_spiffe_bundles() -> None:
    """The files of x509bundle's TestParse; an empty bundle, which go-spiffe takes, is none here."""
    folder = case_folder("go-spiffe-testdata") / "bundle" / "x509bundle" / "testdata"
    assert len(TrustBundle.load(folder / "certs.pem").roots) == 2
    assert len(TrustBundle.load(folder / "cert.pem").roots) == 1
    for name in ("corrupted.pem", "empty.pem", "not-pem.pem", "key.pem"):
        with pytest.raises(CertificateError, match=name):
            TrustBundle.load(folder / name)
