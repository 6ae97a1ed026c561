"""Does one clause of a policy hold for an inquiry? Envoy's meaning of every matcher, in Python.

The regular expressions are the ones that translation makes, of quoted words: RE2 and Python agree
about them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from ipaddress import ip_address, ip_network
from typing import Any

from controlplane.authz.inquiry import Inquiry
from controlplane.mesh.policy import Attribute, Clause, Fact, Match, Value

_HEADERS: frozenset[Attribute] = frozenset(("header", "host", "method"))
_SEGMENT = r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]"
"""What a '*' of a URI template takes (Envoy's kPathGlob)."""


def holds(clause: Clause, inquiry: Inquiry) -> bool:
    if clause.values and not any(means(value, inquiry) for value in clause.values):
        return False
    return not any(means(value, inquiry) for value in clause.not_values)


def means(value: Value, inquiry: Inquiry) -> bool:
    return all(true(fact, inquiry) for fact in value.facts)


def true(fact: Fact, inquiry: Inquiry) -> bool:
    if fact.match.kind == "present" and fact.attribute in _HEADERS:
        return any(True for _ in actual(fact, inquiry))  # an empty one is there too
    return any(matches(fact.match, found) for found in actual(fact, inquiry))


def actual(fact: Fact, inquiry: Inquiry) -> Iterator[Any]:
    """The values that the inquiry has for what `fact` asks about: none, one, or a list's and its
    members."""
    found = _ACTUAL[fact.attribute](fact, inquiry)
    if fact.attribute == "claim" and isinstance(found, list):
        yield from found
    elif fact.attribute == "header" and fact.match.inner is not None and found is not None:
        yield [one.strip(" \t") for one in found.split(",")]
    elif fact.attribute == "destination_port":
        yield from map(str, inquiry.ports)
    elif found is not None:
        yield found


def _peer(_: Fact, inquiry: Inquiry) -> str | None:
    return inquiry.identity or None


def _claim(fact: Fact, inquiry: Inquiry) -> Any:
    return _inside(inquiry.claims, fact.key)


def _metadata(fact: Fact, inquiry: Inquiry) -> Any:
    return _inside(inquiry.metadata, fact.key)


def _inside(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _plain(address: str) -> str:
    """Of a socket's an IPv4 address in IPv6's clothes is IPv4; one from a header stays as it is."""
    try:
        mapped = getattr(ip_address(address), "ipv4_mapped", None)
    except ValueError:
        return address
    return address if mapped is None else str(mapped)


_ACTUAL: Mapping[Attribute, Callable[[Fact, Inquiry], Any]] = {
    "identity": _peer,
    "source_ip": lambda _, inquiry: _plain(inquiry.source_ip),
    "remote_ip": lambda _, inquiry: inquiry.remote_ip or _plain(inquiry.source_ip),
    "destination_ip": lambda _, inquiry: inquiry.destination_ip,
    "destination_port": lambda _, inquiry: inquiry.ports,
    "sni": lambda _, inquiry: inquiry.sni,
    "host": lambda _, inquiry: inquiry.host,
    "method": lambda _, inquiry: inquiry.method,
    "path": lambda _, inquiry: inquiry.bare_path,
    "header": lambda fact, inquiry: _header(fact.key[0], inquiry),
    "token": _claim,
    "claim": _claim,
    "metadata": _metadata,
}


def _header(name: str, inquiry: Inquiry) -> str | None:
    own = {":method": inquiry.method, ":authority": inquiry.host, ":path": inquiry.path}
    return own.get(name.lower(), inquiry.headers.get(name.lower()))


# --------------------------------------------------------------------------- matchers


def matches(match: Match, found: Any) -> bool:
    if match.inner is not None:
        return isinstance(found, list) and any(matches(match.inner, item) for item in found)
    return isinstance(found, str) and _MATCHERS[match.kind](match, found)


def _fold(match: Match, found: str) -> tuple[str, str]:
    return (match.value.lower(), found.lower()) if match.ignore_case else (match.value, found)


def _exact(match: Match, found: str) -> bool:
    wanted, given = _fold(match, found)
    return wanted == given


def _prefix(match: Match, found: str) -> bool:
    wanted, given = _fold(match, found)
    return given.startswith(wanted)


def _suffix(match: Match, found: str) -> bool:
    wanted, given = _fold(match, found)
    return given.endswith(wanted)


def _cidr(match: Match, found: str) -> bool:
    try:
        return ip_address(found) in ip_network(match.value, strict=False)
    except ValueError:
        return False


@cache
def _template(template: str) -> re.Pattern[str]:
    """Envoy's URI template: '*' is one segment, '**' any number of characters of segments."""
    parts = re.split(r"(\*\*|\*)", template)
    words = {"*": f"{_SEGMENT}+", "**": f"(?:{_SEGMENT}|/)*"}
    return re.compile("".join(words.get(part, re.escape(part)) for part in parts))


_MATCHERS: Mapping[str, Callable[[Match, str], bool]] = {
    "exact": _exact,
    "prefix": _prefix,
    "suffix": _suffix,
    "regex": lambda match, found: re.fullmatch(match.value, found) is not None,
    "present": lambda _, found: found != "" and "\n" not in found,
    "cidr": _cidr,
    "port": _exact,
    "template": lambda match, found: _template(match.value).fullmatch(found) is not None,
}
