"""What users bring for TLS ends like any other certificate, and nobody renews it here."""

from __future__ import annotations

from datetime import timedelta

from certs.doctor import Severity
from certs.x509 import chain_from_pem, validity
from controlplane.doctor.credentials import look_at
from controlplane.mesh.credentials import Credential
from tests.support.pki import Authority

DAY_S = 86400.0


def test_certificates_of_secrets_end_too() -> None:
    root = Authority("partner root", timedelta(days=3650))
    pair = root.issue(dns=("shop.test",), lifetime=timedelta(days=90), begins_in=timedelta(0))
    partner = Credential("shop", "partner", pair.certificate.encode(), b"", root.pem.encode())
    (begins, ends) = validity(chain_from_pem(partner.chain)[0])
    for now, of_leaf, of_root in (
        (begins + DAY_S, Severity.OK, Severity.OK),
        (ends - 10 * DAY_S, Severity.WARNING, Severity.OK),
        (ends + DAY_S, Severity.ERROR, Severity.OK),
        (begins + 3600 * DAY_S, Severity.ERROR, Severity.WARNING),
    ):
        leaf, above = look_at([partner], now)
        assert (leaf.severity, above.severity) == (of_leaf, of_root)
        assert leaf.where == above.where == "Secret shop/partner"
    assert "has expired" in leaf.text and leaf.breaks == "peers that it is shown to refuse it"
    assert list(look_at([Credential("shop", "empty")], begins)) == []
