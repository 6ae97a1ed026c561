"""Certificates that users bring: pairs that fit, roots, lists; and why one is refused."""

from __future__ import annotations

import pytest

from certs.credential import check_lists, check_pair, check_roots
from certs.errors import CertificateError
from tests.support.pki import Authority

ROOT = Authority()
SITE = ROOT.issue(dns=("shop.test",))
OTHER = ROOT.issue(dns=("shop.test",))


def test_what_is_good() -> None:
    check_pair((SITE.certificate + ROOT.pem).encode(), SITE.key.encode())
    check_roots((ROOT.pem + Authority().pem).encode())
    check_lists(ROOT.crl().encode())


def test_a_key_of_another_certificate() -> None:
    with pytest.raises(CertificateError, match="not that of the certificate CN=test leaf"):
        check_pair(SITE.certificate.encode(), OTHER.key.encode())


@pytest.mark.parametrize(
    ("chain", "key", "why"),
    [
        (b"", SITE.key.encode(), "holds no PEM certificate"),
        (SITE.certificate.encode(), b"", "private key is not valid PEM"),
        (SITE.certificate.encode(), SITE.key.encode()[:-60], "private key is not valid PEM"),
        (SITE.certificate.encode()[:-60], SITE.key.encode(), "cut off"),
    ],
)
def test_halves_of_pairs(chain: bytes, key: bytes, why: str) -> None:
    with pytest.raises(CertificateError, match=why):
        check_pair(chain, key)


def test_lists_that_are_none() -> None:
    with pytest.raises(CertificateError, match="no PEM revocation list"):
        check_lists(ROOT.pem.encode())
    text = "-----BEGIN X509 CRL-----\nYQ==\n-----END X509 CRL-----\n"
    with pytest.raises(CertificateError, match="revocation list 2 is corrupt"):
        check_lists((ROOT.crl() + text).encode())
    with pytest.raises(CertificateError, match="no PEM certificate"):
        check_roots(ROOT.crl().encode())
