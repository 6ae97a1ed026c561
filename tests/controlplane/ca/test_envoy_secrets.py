"""Secrets for plain Envoys: cached per identity, renewed at half life, bounded."""

from __future__ import annotations

import pytest

from certs.authority import Authority
from certs.bundle import TrustBundle
from certs.errors import CertificateError
from certs.keys import key_from_pem
from certs.spiffe import SpiffeId
from certs.x509 import chain_from_pem, check_svid, matches_key
from controlplane.ca import envoy_secrets
from controlplane.ca.envoy_secrets import EnvoySecrets

NOW = 1_800_000_000.0
DAY_S = 86400.0
CART = SpiffeId.workload("td", "shop", "cart")


@pytest.fixture
def authority() -> Authority:
    return Authority.create("td", NOW)


@pytest.fixture
def secrets(authority: Authority) -> EnvoySecrets:
    return EnvoySecrets(authority)


def test_key_and_chain_belong_together(secrets: EnvoySecrets, authority: Authority) -> None:
    secret = secrets.certificate(CART, NOW)
    chain = chain_from_pem(secret.chain_pem)
    assert check_svid(chain) == CART
    assert matches_key(chain[0], key_from_pem(secret.key_pem).public_key())
    assert secret.not_after == NOW + DAY_S
    assert "PRIVATE" not in repr(secret)
    assert not set(chain) & set(authority.bundle.roots)
    chain[0].verify_directly_issued_by(TrustBundle.from_pem(authority.bundle.to_pem()).roots[0])


def test_replicas_share_until_half_life(secrets: EnvoySecrets) -> None:
    first = secrets.certificate(CART, NOW)
    assert secrets.certificate(CART, NOW + 0.49 * DAY_S) is first
    second = secrets.certificate(CART, NOW + 0.51 * DAY_S)
    assert second.key_pem != first.key_pem
    assert second.not_after == NOW + 1.51 * DAY_S
    assert secrets.certificate(CART, NOW + 0.52 * DAY_S) is second


def test_identities_do_not_share(secrets: EnvoySecrets) -> None:
    other = SpiffeId.workload("td", "shop", "checkout")
    assert secrets.certificate(other, NOW).key_pem != secrets.certificate(CART, NOW).key_pem


def test_another_trust_domain_is_refused(secrets: EnvoySecrets) -> None:
    with pytest.raises(CertificateError, match="trust domain td"):
        secrets.certificate(SpiffeId.workload("other", "shop", "cart"), NOW)


def test_the_longest_unrenewed_is_forgotten_first(
    secrets: EnvoySecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envoy_secrets, "MAX_IDENTITIES", 3)
    a, b, c, d = (SpiffeId.workload("td", "shop", name) for name in "abcd")
    later = NOW + 0.6 * DAY_S
    secrets.certificate(a, NOW)
    first_b = secrets.certificate(b, NOW + 0.2 * DAY_S)
    renewed_a = secrets.certificate(a, later)
    kept_c = secrets.certificate(c, later)
    secrets.certificate(d, later)
    assert secrets.certificate(a, later) is renewed_a
    assert secrets.certificate(c, later) is kept_c
    assert secrets.certificate(b, later) is not first_b
