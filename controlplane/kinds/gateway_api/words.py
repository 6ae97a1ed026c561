"""The words of Gateway API's CRDs: their patterns, bounds and lists, as decoders.

Patterns are those of the schemas, anchored, and rewritten where the original would backtrack
without end; lengths are looked at first. Knows no kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from controlplane.kinds.decoders import duration, list_of, map_of, text
from controlplane.kinds.schema import Decoder, Invalid, Place, names
from controlplane.kinds.yaml_nodes import Node, Sequence

T = TypeVar("T")

GROUP = "gateway.networking.k8s.io"
STABLE = names(f"{GROUP}/v1 {GROUP}/v1beta1")
_LABEL = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_DURATION = re.compile(r"(?:[0-9]{1,5}(?:h|m|s|ms)){1,4}")
_KEY = re.compile(
    rf"(?:(?P<prefix>{_SUBDOMAIN})/)?(?:[A-Za-z0-9][-A-Za-z0-9_.]{{0,61}})?[A-Za-z0-9]"
)


def pattern(regex: str, expected: str, longest: int, shortest: int = 1) -> Decoder[str]:
    """A string of `shortest` to `longest` characters that `regex` matches whole."""
    compiled = re.compile(regex, re.DOTALL)

    def decode(node: Node, place: Place) -> str:
        value = text(node, place)
        if not shortest <= len(value) <= longest:
            raise place.refuse(node, f"{expected} of {shortest} to {longest} characters")
        if not compiled.fullmatch(value):
            raise place.refuse(node, expected)
        return value

    return decode


def bounded(longest: int, shortest: int = 0) -> Decoder[str]:
    """Any string of `shortest` to `longest` characters."""
    return pattern(".*", "a string", longest, shortest)


def items(
    decode: Decoder[T],
    maximum: int,
    minimum: int = 0,
    *,
    unique: Callable[[T], Hashable] | None = None,
) -> Decoder[tuple[T, ...]]:
    """A list of `minimum` to `maximum` items; with `unique` no two have the same key."""
    decode_list = list_of(decode, minimum)

    def decode_items(node: Node, place: Place) -> tuple[T, ...]:
        if isinstance(node, Sequence) and len(node.items) > maximum:
            raise place.refuse(node, f"at most {maximum} items")
        found = decode_list(node, place)
        if unique is not None and isinstance(node, Sequence):
            _refuse_twice(node, place, [unique(item) for item in found])
        return found

    return decode_items


def _refuse_twice(node: Sequence, place: Place, keys: list[Hashable]) -> None:
    for index, key in enumerate(keys):
        if key in keys[:index]:
            message = f"{key!r} is given twice"
            raise Invalid([place.item(index).problem(node.items[index], message)])


def itself(value: T) -> T:
    """The key of items that are their own."""
    return value


def gep_duration(node: Node, place: Place) -> float:
    """GEP-2257's duration ('1h30m', '100ms'), in seconds."""
    value = text(node, place)
    if len(value) > 40 or not _DURATION.fullmatch(value):
        raise place.refuse(node, "a duration such as 10s, 500ms or 1h30m (GEP-2257)")
    return duration(node, place)


def small_map(
    decode: Decoder[str], maximum: int, *, keys: bool = False
) -> Decoder[Mapping[str, str]]:
    """A mapping with at most `maximum` entries; keys: those of labels and annotations."""
    decode_map = map_of(decode)

    def decode_small(node: Node, place: Place) -> Mapping[str, str]:
        found = decode_map(node, place)
        if len(found) > maximum:
            raise place.refuse(node, f"at most {maximum} entries")
        for key in found if keys else ():
            matched = _KEY.fullmatch(key) if len(key) <= 317 else None
            if matched is None or len(matched["prefix"] or "") >= 253:
                message = f"{key!r} is no key: an optional DNS prefix with '/', then a name"
                raise Invalid([place.problem(node, message)])
        return found

    return decode_small


# A group is '' for Kubernetes' core.
API_GROUP = pattern(rf"(?:{_SUBDOMAIN})?", "an API group (lower case) or ''", 253, 0)
API_KIND = pattern("[a-zA-Z](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?", "a kind", 63)
OBJECT_NAME = bounded(253, 1)
NAMESPACE = pattern(_LABEL, "a namespace", 63)
SECTION = pattern(_SUBDOMAIN, "a name of lower-case letters, digits, '-' and '.'", 253)
HOSTNAME_REGEX = rf"(?:\*\.)?{_SUBDOMAIN}"
HOSTNAME = pattern(HOSTNAME_REGEX, "a host name in lower case, perhaps with '*.'", 253)
PRECISE_HOSTNAME = pattern(_SUBDOMAIN, "a host name in lower case without '*'", 253)
HEADER_NAME = pattern(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+", "a header name", 256)
HEADER_VALUE = pattern(r"[!-~]+(?:[\t ][!-~]+)*", "a header value of visible ASCII", 4096)
CONTROLLER = pattern(
    rf"{_SUBDOMAIN}/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", "a name such as example.com/controller", 253
)
ADDRESS_TYPE = pattern(
    rf"Hostname|IPAddress|NamedAddress|{_SUBDOMAIN}/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+",
    "IPAddress, Hostname, NamedAddress or a name with a domain",
    253,
)
PROTOCOL = pattern(
    rf"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?|{_SUBDOMAIN}/[A-Za-z0-9]+",
    "HTTP, HTTPS, TLS, TCP, UDP or a name with a domain",
    255,
)
WELL_KNOWN_ROOTS = pattern(
    rf"System|{_SUBDOMAIN}/(?:[A-Za-z0-9][-A-Za-z0-9_.]{{0,61}})?[A-Za-z0-9]",
    "System, or a name with a domain",
    253,
)
ABSOLUTE_URI = pattern(r"[^:/?#]+://[^/?#]*[^?#]*(?:\?[^#]*)?(?:#.*)?", "an absolute URI", 253)
ORIGIN = pattern(
    r"\*|https?://(?:(?:\*\.)?(?:[a-zA-Z0-9\-]+\.)*[a-zA-Z0-9-]+|\*)(?::[0-9]{1,5})?",
    "an origin such as https://example.com, with '*' for a whole host or its first labels",
    253,
)
URL_PATH = pattern(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+", "the path of a URL", 1024)
LABEL_VALUE = pattern(r"(?:(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", "a label's value", 63, 0)
OPTIONS = small_map(bounded(4096), 16)
ANNOTATIONS = small_map(bounded(4096), 16, keys=True)
LABELS = small_map(LABEL_VALUE, 8, keys=True)
