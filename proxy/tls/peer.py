"""Who is at the other end: the peer's certificate after the handshake, and the SANs it must have.

The handshake itself has already verified the chain against `trusted_ca`; here is what OpenSSL does
not do for us, Envoy's `match_typed_subject_alt_names`. Works on an `ssl` object, opens nothing.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from proxy.config.model import SanMatcher, StringMatcher
from proxy.connection import PeerCertificate

Sans = dict[str, tuple[str, ...]]
"""Names of a certificate by type, in Envoy's words: URI, DNS, EMAIL, IP_ADDRESS."""

SanCheck = Callable[[Sans], bool]

_SAN_TYPES = {"URI": "URI", "DNS": "DNS", "email": "EMAIL", "IP Address": "IP_ADDRESS"}

# OpenSSL's short names, as Envoy prints subjects (RFC 2253 section 2.3 and OpenSSL's own).
_SHORT_NAMES = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "givenName": "GN",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "street",
    "surname": "SN",
    "userId": "UID",
}


def remember_server_name(tls: object, name: str | None, _context: ssl.SSLContext) -> None:
    """An `sni_callback`: Python tells a server the client's SNI here and nowhere else."""
    tls.__dict__["requested_server_name"] = name or ""


def requested_server_name(tls: object) -> str:
    """The client's SNI in lower case, '' when it sent none; of a server's finished handshake."""
    name: str = tls.__dict__.get("requested_server_name", "")
    return name.lower()


def sans_of(tls: ssl.SSLObject) -> Sans | None:
    """The names of the verified peer certificate; None when there is none."""
    certificate: Any = tls.getpeercert()
    return _sans(certificate) if certificate else None


def has_name(sans: Sans, name: str) -> bool:
    """Whether a certificate with these names is for `name`: a DNS name that covers it, or any other
    name as it is (Envoy's verification of a list of names)."""
    if any(name in names for kind, names in sans.items() if kind != "DNS"):
        return True
    host = name.lower()
    return any(dns_name_matches(host, presented.lower()) for presented in sans.get("DNS", ()))


def peer_certificate(tls: ssl.SSLObject) -> PeerCertificate | None:
    """The facts of the verified peer certificate; None when the peer showed none."""
    certificate: Any = tls.getpeercert()
    der = tls.getpeercert(True)
    if not certificate or der is None:
        return None
    sans = _sans(certificate)
    return PeerCertificate(
        uri_sans=sans.get("URI", ()),
        dns_sans=sans.get("DNS", ()),
        subject=_distinguished_name(certificate.get("subject", ())),
        issuer=_distinguished_name(certificate.get("issuer", ())),
        serial=certificate["serialNumber"].lower(),
        sha256=hashlib.sha256(der).hexdigest(),
        not_after=float(ssl.cert_time_to_seconds(certificate["notAfter"])),
        not_before=float(ssl.cert_time_to_seconds(certificate["notBefore"])),
        ip_sans=sans.get("IP_ADDRESS", ()),
        email_sans=sans.get("EMAIL", ()),
        der=der,
    )


def _sans(certificate: dict[str, Any]) -> Sans:
    sans: Sans = {}
    for kind, value in certificate.get("subjectAltName", ()):
        name = _SAN_TYPES.get(kind)
        if name == "IP_ADDRESS":
            value = str(ipaddress.ip_address(value.strip()))
        if name is not None:
            sans[name] = (*sans.get(name, ()), value)
    return sans


def _distinguished_name(names: Sequence[Sequence[tuple[str, str]]]) -> str:
    """RFC 2253: the last relative name first, `+` inside one, special characters escaped."""
    return ",".join(
        "+".join(f"{_SHORT_NAMES.get(kind, kind)}={_escaped(value)}" for kind, value in relative)
        for relative in reversed(names)
    )


def _escaped(value: str) -> str:
    value = re.sub(r'([,+"\\<>;])', r"\\\1", value)
    if value[:1] in (" ", "#"):
        value = "\\" + value
    return value[:-1] + "\\ " if value.endswith(" ") and len(value) > 1 else value


def compile_san_matchers(matchers: Sequence[SanMatcher]) -> SanCheck:
    """A check that is true when any matcher fits any name of its type (Envoy: any of them).

    Raises ValueError for a regex that does not compile."""
    checks = [(matcher.san_type, _name_check(matcher)) for matcher in matchers]

    def check(sans: Sans) -> bool:
        return any(fits(name) for kind, fits in checks for name in sans.get(kind, ()))

    return check


def _name_check(matcher: SanMatcher) -> Callable[[str], bool]:
    string = matcher.matcher
    if matcher.san_type == "DNS" and string.kind == "exact":
        wanted = string.value.lower()
        return lambda name: dns_name_matches(wanted, name.lower())
    return _string_check(string)


def _string_check(string: StringMatcher) -> Callable[[str], bool]:
    if string.kind == "regex":
        try:
            pattern = re.compile(string.value, re.IGNORECASE if string.ignore_case else 0)
        except re.error as error:
            raise ValueError(f"regex {string.value!r}: {error}") from None
        return lambda name: pattern.fullmatch(name) is not None
    value = string.value.lower() if string.ignore_case else string.value
    plain: dict[str, Callable[[str], bool]] = {
        "exact": lambda name: name == value,
        "prefix": lambda name: name.startswith(value),
        "suffix": lambda name: name.endswith(value),
        "contains": lambda name: value in name,
    }
    check = plain[string.kind]
    return (lambda name: check(name.lower())) if string.ignore_case else check


def dns_name_matches(wanted: str, presented: str) -> bool:
    """Whether the certificate's DNS name covers `wanted`; both in lower case.

    Envoy's rule (RFC 6125 section 6.4.3): one `*`, only in the leftmost label, it may be a part of
    that label, never of an A-label, and never stands for a dot."""
    if wanted == presented:
        return True
    label, dot, parent = wanted.partition(".")
    pattern, _, pattern_parent = presented.partition(".")
    if not dot or not parent or parent != pattern_parent or pattern.count("*") != 1:
        return False
    if pattern.startswith("xn--"):
        return False
    before, _, after = pattern.partition("*")
    long_enough = len(label) >= len(pattern) - 1 and label != ""
    return long_enough and label.startswith(before) and label.endswith(after)
