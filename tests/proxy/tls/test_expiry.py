"""When certificates end, as gauges with Envoy's names."""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509

from proxy.config.model import CommonTls, DataSource, SdsRef, Secret, TrustDomain, ValidationContext
from proxy.stats import Stats
from proxy.tls.expiry import tell
from tests.support.pki import Authority
from tests.support.tls import certificate, validation

LONG, SHORT = Authority("long", timedelta(days=9)), Authority("short", timedelta(days=2))
LEAF = LONG.issue(dns=("a.test",))


def ends(pem: str) -> int:
    return int(x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc.timestamp())


def told(tls: CommonTls, *secrets: Secret) -> dict[str, int]:
    stats = Stats()
    tell(stats, "cluster.x.", tls, {one.name: one for one in secrets})
    start, end = "cluster.x.ssl.certificate.", ".expiration_unix_time_seconds"
    return {
        name.removeprefix(start).removesuffix(end): gauge.value
        for name, gauge in stats.gauges.items()
        if name.startswith(start)
    }


def test_names_are_those_of_the_secrets() -> None:
    tls = CommonTls(certificate_sds=SdsRef("default"), validation_sds=SdsRef("ROOTCA"))
    assert told(tls) == {}
    both = (Secret("default", certificate(LEAF)), Secret("ROOTCA", validation=validation(LONG)))
    assert told(tls, *both) == {"default": ends(LEAF.certificate), "ROOTCA": ends(LONG.pem)}


def test_what_has_no_name_has_one_name() -> None:
    tls = CommonTls(certificates=(certificate(LEAF),), validation=validation(LONG))
    assert told(tls) == {
        "unnamed_cert_e3b0c442": ends(LEAF.certificate),
        "unnamed_ca_cert_e3b0c442": ends(LONG.pem),
    }


def test_of_roots_the_first_to_end_and_of_trust_domains_each() -> None:
    both = DataSource((LONG.pem + SHORT.pem).encode())
    (first,) = told(CommonTls(validation=ValidationContext(both))).values()
    assert first == ends(SHORT.pem) < ends(LONG.pem)
    domains = (TrustDomain("a", both), TrustDomain("b", DataSource(LONG.pem.encode())))
    context = ValidationContext(trust_domains=domains)
    long, short = ends(LONG.pem), ends(SHORT.pem)
    found = told(CommonTls(validation=context))
    assert list(found.values()) == [long, short, long]
    assert list(found) == [f"unnamed_ca_cert_{at}" for at in range(3)]
    by_sds = CommonTls(validation_sds=SdsRef("roots"))
    assert list(told(by_sds, Secret("roots", validation=context))) == [
        f"roots_{at}" for at in range(3)
    ]


def test_what_can_not_be_read_is_left_to_whoever_needs_it() -> None:
    spoiled = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert told(CommonTls(validation=ValidationContext(DataSource(spoiled)))) == {}
