"""Who gets which secret over a discovery stream."""

from __future__ import annotations

import pytest
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext
from envoy.extensions.transport_sockets.tls.v3.tls_spiffe_validator_config_pb2 import (
    SPIFFECertValidatorConfig,
)

from certs.authority import Authority
from certs.spiffe import SpiffeId
from certs.x509 import Certificate, chain_from_pem, check_svid
from controlplane.ca.envoy_secrets import EnvoySecrets
from controlplane.ca.revocations import Told
from controlplane.ca.sds import SdsSecrets
from tests.support.live import live, stored
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
    return SdsSecrets(live(AUTHORITY), keys, clock or Clock())


def test_everybody_gets_the_trust_bundle_and_weft_s_proxies_the_issuer() -> None:
    for weft_agent in (True, False):
        root, *more = secrets(False)(node(weft_agent=weft_agent))
        assert root.name == "ROOTCA"
        pem = root.validation_context.trusted_ca.inline_bytes
        assert pem == AUTHORITY.bundle.to_pem()
        assert not root.validation_context.HasField("crl")
        ours = ["weft.dev/revoked", "weft.dev/issuer"] if weft_agent else []
        assert [secret.name for secret in more] == ours


def test_a_weft_proxy_never_gets_a_key() -> None:
    got = secrets(True)(node(weft_agent=True))
    assert [s.name for s in got] == ["ROOTCA", "weft.dev/revoked", "weft.dev/issuer"]
    assert not any(s.HasField("tls_certificate") for s in got)


def test_another_authority_is_told_at_once_and_issues_keys_anew() -> None:
    authority, second = live(AUTHORITY), Authority.create("cluster.local", NOW)
    of = SdsSecrets(authority, EnvoySecrets(authority), Clock())
    before, weft_before = of(node()), of(node(weft_agent=True))
    authority.swap(stored(AUTHORITY, second))
    root, own = of(node())
    assert own == before[1]
    assert chain_from_pem(root.validation_context.trusted_ca.inline_bytes) == (
        AUTHORITY.certificate,
        second.certificate,
    )
    assert of(node(weft_agent=True))[2] == weft_before[2]
    authority.swap(stored(second, AUTHORITY))
    assert of(node())[1] != own
    issuer = of(node(weft_agent=True))[2].validation_context.trusted_ca.inline_bytes
    assert chain_from_pem(issuer) == (second.certificate,)


def test_what_is_revoked_goes_with_the_trust_bundle() -> None:
    revoked = [Told()]
    of = SdsSecrets(live(AUTHORITY), None, Clock(), lambda: revoked[0])
    assert not of(node())[0].validation_context.HasField("crl")
    for told, only_leaves in ((Told(b"list"), True), (Told(b"list", whole_chains=True), False)):
        revoked[0] = told
        context = of(node())[0].validation_context
        found = (context.crl.inline_bytes, context.only_verify_leaf_cert_crl)
        assert found == (b"list", only_leaves)


def test_weft_s_proxies_hear_who_is_revoked() -> None:
    revoked = [Told()]
    of = SdsSecrets(live(AUTHORITY), None, Clock(), lambda: revoked[0])
    before = of.root_version()

    def heard() -> list[str]:
        (secret,) = (s for s in of(node(weft_agent=True)) if s.name == "weft.dev/revoked")
        named = secret.validation_context.match_typed_subject_alt_names
        return [one.matcher.exact for one in named]

    assert heard() == []
    revoked[0] = Told(identities=("spiffe://td/a", "spiffe://td/b"))
    assert heard() == ["spiffe://td/a", "spiffe://td/b"]
    assert of.root_version() == before
    assert "weft.dev/revoked" not in [s.name for s in of(node())]


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


def bundles(context: CertificateValidationContext) -> dict[str, bytes]:
    config = SPIFFECertValidatorConfig()
    assert context.custom_validator_config.typed_config.Unpack(config)
    return {domain.name: domain.trust_bundle.inline_bytes for domain in config.trust_domains}


def test_federated_trust_domains_have_their_own_roots(caplog: pytest.LogCaptureFixture) -> None:
    far = Authority.create("far", NOW)
    foreign: dict[str, tuple[Certificate, ...]] = {}
    told = Told()
    made = SdsSecrets(
        live(AUTHORITY), None, Clock(), lambda: told, lambda: dict(foreign), lambda: ("old.td",)
    )
    agent = node(weft_agent=True)
    before = made.root_version()
    assert made(agent)[0].validation_context.trusted_ca.inline_bytes == AUTHORITY.bundle.to_pem()
    foreign["far"] = far.bundle.roots
    context = made(agent)[0].validation_context
    assert made.root_version() != before
    assert not context.HasField("trusted_ca")
    assert context.custom_validator_config.name == "envoy.tls.cert_validator.spiffe"
    own, theirs = AUTHORITY.bundle.to_pem(), far.bundle.to_pem()
    assert bundles(context) == {"cluster.local": own, "old.td": own, "far": theirs}
    # Envoy wants a list of each issuer among the roots, and looks at no others.
    told = Told(b"a list", covers=True)
    context = made(agent)[0].validation_context
    assert not context.HasField("crl")
    listed = own + b"a list"
    assert bundles(context) == {"cluster.local": listed, "old.td": listed, "far": theirs}
    assert made.unheeded == ""
    told = Told(b"a list")
    for _ in range(2):
        context = made(agent)[0].validation_context
        assert (context.crl.inline_bytes, context.only_verify_leaf_cert_crl) == (b"a list", True)
        assert bundles(context)["cluster.local"] == own
        assert "weft ca revoke --crl" in made.unheeded
    assert caplog.text.count("do not look at revoked certificates") == 1
    foreign.clear()
    told = Told()
    assert made.root_version() == before
    assert made.unheeded == ""


def test_roots_beside_those_of_our_authority() -> None:
    other = Authority.create("cluster.local", NOW)
    far = Authority.create("far", NOW)
    foreign = {"cluster.local": other.bundle.roots}
    told = Told()
    made = SdsSecrets(
        live(AUTHORITY), None, Clock(), lambda: told, lambda: dict(foreign), lambda: ("old.td",)
    )
    both = AUTHORITY.bundle.to_pem() + other.bundle.to_pem()
    agent = node(weft_agent=True)
    assert made(agent)[0].validation_context.trusted_ca.inline_bytes == both
    # A verifier with lists refuses whoever is of an issuer without one.
    told = Told(b"a list", covers=True)
    context = made(agent)[0].validation_context
    assert bundles(context) == {"cluster.local": both, "old.td": both}
    assert context.crl.inline_bytes == b"a list"
    assert "other roots of our own" in made.unheeded
    foreign["far"] = far.bundle.roots
    told = Told()
    context = made(agent)[0].validation_context
    theirs = {"cluster.local": both, "old.td": both, "far": far.bundle.to_pem()}
    assert bundles(context) == theirs


def test_many_proxies_are_told_to_come_one_after_another() -> None:
    count = [10_000]
    authority = live(AUTHORITY)
    of = SdsSecrets(authority, None, Clock(), proxies=lambda: count[0])
    issuer = of(node(weft_agent=True))[2].validation_context.trusted_ca.inline_bytes
    assert issuer.startswith(b"spread_s: 50\n-----BEGIN CERTIFICATE-----")
    assert chain_from_pem(issuer) == (AUTHORITY.certificate,)
    count[0] = 1
    assert of(node(weft_agent=True))[2].validation_context.trusted_ca.inline_bytes == issuer
    authority.swap(stored(Authority.create("cluster.local", NOW)))
    changed = of(node(weft_agent=True))[2].validation_context.trusted_ca.inline_bytes
    assert changed.startswith(b"spread_s: 0\n")
