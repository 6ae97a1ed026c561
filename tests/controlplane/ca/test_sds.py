"""Who gets which secret over a discovery stream."""

from __future__ import annotations

import pytest

from certs.authority import Authority
from certs.spiffe import SpiffeId
from certs.x509 import chain_from_pem, check_svid
from controlplane.ca.envoy_secrets import EnvoySecrets
from controlplane.ca.sds import SdsSecrets
from tests.support.mesh import node

NOW = 1_800_000_000.0
DAY_S = 24 * 3600.0
AUTHORITY = Authority.create("cluster.local", NOW)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def secrets(allowed: bool, clock: Clock | None = None) -> SdsSecrets:
    keys = EnvoySecrets(AUTHORITY) if allowed else None
    return SdsSecrets(AUTHORITY.bundle, keys, "cluster.local", clock or Clock())


def test_everybody_gets_the_trust_bundle() -> None:
    for weft_agent in (True, False):
        (root,) = secrets(False)(node(weft_agent=weft_agent))
        assert root.name == "ROOTCA"
        pem = root.validation_context.trusted_ca.inline_bytes
        assert pem == AUTHORITY.bundle.to_pem()


def test_a_weft_proxy_never_gets_a_key() -> None:
    assert [s.name for s in secrets(True)(node(weft_agent=True))] == ["ROOTCA"]


def test_a_plain_envoy_gets_the_key_of_its_own_identity_where_allowed() -> None:
    _, own = secrets(True)(node("w", "greeter"))
    chain = chain_from_pem(own.tls_certificate.certificate_chain.inline_bytes, "own")
    assert check_svid(chain) == SpiffeId.workload("cluster.local", "default", "greeter")
    assert b"PRIVATE KEY" in own.tls_certificate.private_key.inline_bytes


def test_without_leave_it_gets_none_and_the_operator_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed = secrets(False)
    for _ in range(3):
        assert [s.name for s in closed(node())] == ["ROOTCA"]
    assert caplog.text.count("--allow-sds-keys") == 1


def test_the_secret_stays_the_same_until_half_its_life_is_over() -> None:
    clock = Clock()
    of = secrets(True, clock)
    first = of(node())[1]
    clock.now = NOW + DAY_S / 4
    assert of(node())[1] == first
    clock.now = NOW + DAY_S * 3 / 4
    assert of(node())[1] != first


def test_an_account_that_is_no_spiffe_id_gets_no_key(caplog: pytest.LogCaptureFixture) -> None:
    assert [s.name for s in secrets(True)(node("w", "a/b"))] == ["ROOTCA"]
    assert "no certificate for" in caplog.text
