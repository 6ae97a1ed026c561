"""The peer's certificate as facts, and Envoy's rules for its names."""

from __future__ import annotations

import hashlib
import ssl
import time
from typing import Any

import pytest

from proxy.config.model import SanMatcher, StringMatcher
from proxy.tls.names import compile_san_matchers, dns_name_matches, has_name
from proxy.tls.peer import certificate_facts
from tests.support.pki import Authority

SANS = {
    "URI": ("spiffe://td/ns/default/sa/web",),
    "DNS": ("*.example.com", "Web.example.org"),
    "IP_ADDRESS": ("10.0.0.1", "fd00::1"),
}


def matcher(kind: Any, value: str, string: Any = "exact", ignore_case: bool = False) -> SanMatcher:
    return SanMatcher(kind, StringMatcher(string, value, ignore_case))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (matcher("URI", "spiffe://td/ns/default/sa/web"), True),
        (matcher("URI", "spiffe://td/ns/default/sa/we"), False),
        (matcher("URI", "spiffe://TD/ns/default/sa/web"), False),
        (matcher("URI", "spiffe://TD/ns/default/sa/web", "exact", True), True),
        (matcher("URI", "spiffe://td/ns/default/", "prefix"), True),
        (matcher("URI", "/sa/web", "suffix"), True),
        (matcher("URI", "DEFAULT", "contains", True), True),
        (matcher("URI", "spiffe://td/ns/[a-z]+/sa/web", "regex"), True),
        (matcher("URI", "spiffe://td/ns", "regex"), False),
        (matcher("DNS", "spiffe://td/ns/default/sa/web"), False),
        (matcher("DNS", "api.example.com"), True),
        (matcher("DNS", "a.b.example.com"), False),
        (matcher("DNS", "web.EXAMPLE.org"), True),
        (matcher("DNS", "example.com", "suffix"), True),
        (matcher("IP_ADDRESS", "10.0.0.1"), True),
        (matcher("EMAIL", "a@b"), False),
    ],
)
def test_matchers(wanted: SanMatcher, expected: bool) -> None:
    assert compile_san_matchers([wanted])(SANS) is expected


def test_any_matcher_is_enough() -> None:
    check = compile_san_matchers([matcher("URI", "no"), matcher("IP_ADDRESS", "fd00::1")])
    assert check(SANS)
    assert not check({})


def test_a_bad_regex_is_named() -> None:
    with pytest.raises(ValueError, match=r"regex '\[': "):
        compile_san_matchers([matcher("URI", "[", "regex")])


@pytest.mark.parametrize(
    ("wanted", "presented", "expected"),
    [
        ("a.example.com", "a.example.com", True),
        ("a.example.com", "*.example.com", True),
        ("abc.example.com", "a*c.example.com", True),
        ("ac.example.com", "a*c.example.com", True),
        ("a.example.com", "a*a.example.com", False),
        ("a.b.example.com", "*.example.com", False),
        ("example.com", "*.example.com", False),
        ("example.com", "*", False),
        ("a.example.com", "*.*.com", False),
        ("a.example.com", "**.example.com", False),
        ("xn--caf-dma.example.com", "xn--*.example.com", False),
        (".example.com", "*.example.com", False),
    ],
)
def test_dns_wildcards(wanted: str, presented: str, expected: bool) -> None:
    assert dns_name_matches(wanted, presented) is expected


def test_facts_of_a_real_certificate() -> None:
    root = Authority('a, "quoted" root')
    pair = root.issue(
        uris=("spiffe://td/ns/a/sa/b",), dns=("b.test", "*.b.test"), ips=("10.0.0.1", "fd00::1")
    )

    found = certificate_facts(ssl.PEM_cert_to_DER_cert(pair.certificate))

    assert found.uri_sans == ("spiffe://td/ns/a/sa/b",)
    assert found.dns_sans == ("b.test", "*.b.test")
    assert found.issuer == r"CN=a\, \"quoted\" root"
    assert found.subject == "CN=test leaf"
    assert found.der == ssl.PEM_cert_to_DER_cert(pair.certificate)
    assert found.sha256 == hashlib.sha256(found.der).hexdigest()
    assert found.serial == found.serial.lower() != ""
    assert found.not_before < time.time() < found.not_after


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("shop.test", True),
        ("SHOP.test", True),
        ("a.mesh.test", True),
        ("a.b.mesh.test", False),
        ("mesh.test", False),
        ("10.0.0.1", True),
        ("spiffe://mesh/a", True),
        ("10.0.0.2", False),
        ("", False),
    ],
)
def test_whom_a_certificate_is_for(name: str, fits: bool) -> None:
    """As `auto_san_validation` asks: a wildcard stands for one label."""
    sans = {
        "DNS": ("shop.test", "*.mesh.test"),
        "IP_ADDRESS": ("10.0.0.1",),
        "URI": ("spiffe://mesh/a",),
    }
    assert has_name(sans, name) is fits
