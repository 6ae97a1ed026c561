"""The names that a peer's certificate must have: Envoy's `match_typed_subject_alt_names`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from proxy.config.model import SanMatcher, StringMatcher
from proxy.http.regex import compiled

MAX_SHOWN = 300  # letters
Sans = Mapping[str, tuple[str, ...]]
"""Names of a certificate by type, in Envoy's words: URI, DNS, EMAIL, IP_ADDRESS; those of type
OTHER_NAME by their OID."""

SanCheck = Callable[[Sans], bool]


def has_name(sans: Sans, name: str) -> bool:
    """Whether a certificate with these names is for `name`: a DNS name that covers it, or any other
    name as it is (Envoy's verification of a list of names)."""
    if any(name in names for kind, names in sans.items() if kind != "DNS"):
        return True
    host = name.lower()
    return any(dns_name_matches(host, presented.lower()) for presented in sans.get("DNS", ()))


def shown(sans: Sans) -> str:
    """For people."""
    return harmless(", ".join(name for names in sans.values() for name in names)) or "none"


def harmless(text: str) -> str:
    """For a log: what a stranger's certificate says forges no line and fills no disk."""
    printable = text if text.isprintable() else ascii(text)[1:-1]
    cut = len(printable) - MAX_SHOWN
    return f"{printable[:MAX_SHOWN]}... ({cut} more)" if cut > 0 else printable


def wanted(matchers: Sequence[SanMatcher]) -> str:
    """For people: what would have been accepted."""
    return " or ".join(f"{one.matcher.kind} {one.matcher.value}" for one in matchers)


def compile_san_matchers(matchers: Sequence[SanMatcher]) -> SanCheck:
    """A check that is true when any matcher fits any name of its type (Envoy: any of them).

    Raises ValueError for a regex that does not compile."""
    checks = [(one.oid or one.san_type, _name_check(one)) for one in matchers]

    def check(sans: Sans) -> bool:
        return any(fits(name) for kind, fits in checks for name in sans.get(kind, ()))

    return check


def _name_check(matcher: SanMatcher) -> Callable[[str], bool]:
    string = matcher.matcher
    if matcher.san_type == "DNS" and string.kind == "exact":
        name = string.value.lower()
        return lambda presented: dns_name_matches(name, presented.lower())
    return _string_check(string)


def _string_check(string: StringMatcher) -> Callable[[str], bool]:
    if string.kind == "regex":
        import re2  # few need it

        try:
            pattern = compiled(string.value)
        except re2.error as error:
            raise ValueError(f"regex {string.value!r}: {error}") from None
        return lambda name: pattern.fullmatch(name.encode(errors="surrogateescape")) is not None
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
