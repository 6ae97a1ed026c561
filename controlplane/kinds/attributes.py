"""The attributes that Istio's policies ask about, and which values each of them takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from controlplane.kinds.schema import Invalid, Place
from controlplane.kinds.selectors import named
from controlplane.kinds.yaml_nodes import Node
from controlplane.mesh.ip import is_ip

ONE = "{*}"
ANY = "{**}"
"""Istio's path templates: one segment, and any number of them."""

ROUTING_CLAIMS = "@request.auth.claims"
"""Begins the name of a VirtualService's header match that looks at a token's claims instead."""

_MAX_TEMPLATE = 256
_MAX_SERVICE_ACCOUNT = 320
_LITERAL = re.compile(r"[a-zA-Z0-9-._~%!$&'()+,;:@=]+")
_HEADER = re.compile(r"request\.headers\[(:?[!#$%&'*+.^_`|~0-9A-Za-z-]+)\]")
_CLAIM = re.compile(r"request\.auth\.claims((?:\[[^\[\]]+\])+)")
_FILTER = re.compile(r"experimental\.(envoy\.filters\.[^\[\]]+)\[([^\[\]]+)\]")
_INLINE = re.compile(r"request\.experimental\.inline\.headers\[([!#$%&'*+.^_`|~0-9A-Za-z-]+)\]")
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")


def header_name(key: str) -> str:
    """'x-a' of 'request.headers[x-a]', or ''."""
    found = _HEADER.fullmatch(key)
    return found.group(1) if found else ""


def inline_header_name(key: str) -> str:
    """'x-a' of 'request.experimental.inline.headers[x-a]', or ''."""
    found = _INLINE.fullmatch(key)
    return found.group(1) if found else ""


def claim_path(key: str) -> tuple[str, ...]:
    """('a', 'b') of 'request.auth.claims[a][b]', or ()."""
    found = _CLAIM.fullmatch(key)
    return tuple(found.group(1)[1:-1].split("][")) if found else ()


def routing_claim(key: str) -> tuple[str, ...]:
    """The path in '@request.auth.claims.a.b' or '@request.auth.claims[a][b]', or ()."""
    path = key.removeprefix(ROUTING_CLAIMS)
    if path.startswith("."):
        found = tuple(path[1:].split("."))
        return found if all(found) else ()
    return claim_path(key[1:])


def filter_path(key: str) -> tuple[str, ...]:
    """(filter, name) of 'experimental.envoy.filters.a.b[c]', or ()."""
    found = _FILTER.fullmatch(key)
    return found.groups() if found else ()


# --------------------------------------------------------------------------- values


def _port_fault(value: str) -> str:
    good = _PORT.fullmatch(value) and int(value) <= 65535
    return "" if good else f"expected a port number 0..65535 as a string, got {value!r}"


def _cidr_fault(value: str) -> str:
    address, slash, length = value.partition("/")
    good = is_ip(address) and "%" not in address
    widest = 128 if ":" in address else 32
    if good and slash:
        good = length.isdecimal() and len(length) <= 3 and int(length) <= widest
    return "" if good else f"expected an IP address or CIDR range, got {value!r}"


def _account_fault(value: str) -> str:
    parts = value.split("/")
    if "*" in value or len(parts) > 2 or not all(parts) or len(value) > _MAX_SERVICE_ACCOUNT:
        return f"expected 'serviceAccount' or 'namespace/serviceAccount', got {value!r}"
    return ""


def _template_fault(value: str) -> str:
    """Envoy's URI templates: {*} and {**} are whole segments, and {**} is the last of them. One
    that does not begin with a '/', or has an empty segment, ends the process of Envoy 1.40."""
    templated = ONE in value or ANY in value
    if templated and (not value.startswith("/") or "//" in value):
        return f"the path template {value!r} must begin with '/' and have no empty segment"
    if templated and len(value) > _MAX_TEMPLATE:
        return f"a path template of more than {_MAX_TEMPLATE} characters"
    ended = False
    for segment in value.strip("/").split("/"):
        if segment in (ONE, ANY):
            if ended:
                return f"{ANY} must be the last operator of {value!r}"
            ended = segment == ANY
        elif "{" in segment or "}" in segment:
            return f"{segment!r} of {value!r}: only {ONE} and {ANY}, as whole segments, are known"
        elif templated and not _LITERAL.fullmatch(segment):
            return f"{segment!r} of {value!r} can not stand in a path template"
    return ""


def _checked(fault_of: Callable[[str], str]) -> Callable[[Node, Place], str]:
    def decode(node: Node, place: Place) -> str:
        value = named(node, place)
        if fault := fault_of(value):
            raise Invalid([place.problem(node, fault)])
        return value

    return decode


path = _checked(_template_fault)
cidr = _checked(_cidr_fault)
service_account = _checked(_account_fault)
PORT_TEXT = _checked(_port_fault)

# --------------------------------------------------------------------------- conditions

_PLAIN: Mapping[str, Callable[[str], str]] = {
    "source.ip": _cidr_fault,
    "remote.ip": _cidr_fault,
    "destination.ip": _cidr_fault,
    "destination.port": _port_fault,
    "source.serviceAccount": _account_fault,
    "source.namespace": lambda _: "",
    "source.principal": lambda _: "",
    "request.auth.principal": lambda _: "",
    "request.auth.audiences": lambda _: "",
    "request.auth.presenter": lambda _: "",
    "connection.sni": lambda _: "",
}
_NAMED = (
    "request.headers[NAME]",
    "request.experimental.inline.headers[NAME]",
    "request.auth.claims[NAME]",
    "experimental.envoy.filters.F[KEY]",
)


def condition_fault(key: str, value: str) -> str:
    """What is wrong with one value of a condition, or with the key itself ('the key ...')."""
    if header_name(key) or inline_header_name(key) or claim_path(key) or filter_path(key):
        return ""
    if key not in _PLAIN:
        return f"the key is not known; expected one of {', '.join((*_PLAIN, *_NAMED))}"
    return _PLAIN[key](value) if value else ""
