"""What an HTTP rule of a VirtualService looks at: HTTPMatchRequest and StringMatch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from controlplane.kinds.attributes import ROUTING_CLAIMS, routing_claim
from controlplane.kinds.decoders import (
    DNS_LABEL,
    LABELS,
    PORT,
    boolean,
    list_of,
    map_of,
    matching,
    optional_label,
    text,
)
from controlplane.kinds.regex import fault_of
from controlplane.kinds.schema import Invalid, Place, Record, names, obj, optional, record
from controlplane.kinds.yaml_nodes import Node

MESH = "mesh"
"""Istio's word for all sidecars, among `gateways`."""

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PSEUDO = names("uri scheme method authority")
_GATEWAY = matching(
    rf"{DNS_LABEL}/{DNS_LABEL}|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?",
    "'mesh', or the name of a Gateway, also as namespace/name",
)
GATEWAYS = list_of(_GATEWAY)


@record
class PresenceMatch(Record):
    """At most one is set; none means that it is there, whatever it is."""

    exact: str | None = optional(text)
    prefix: str | None = optional(text)
    regex: str | None = optional(text)

    @property
    def given(self) -> list[str]:
        return [key for key in ("exact", "prefix", "regex") if getattr(self, key) is not None]

    def check(self) -> Iterator[tuple[str, str]]:
        if len(self.given) > 1:
            yield "", f"expected only one of exact, prefix, regex, got {' and '.join(self.given)}"
        for key in ("prefix", "regex"):
            if getattr(self, key) == "":
                yield key, "must not be empty"
        if self.regex is not None and (fault := fault_of(self.regex)):
            yield "regex", fault


@record
class StringMatch(PresenceMatch):
    """Exactly one is set."""

    def check(self) -> Iterator[tuple[str, str]]:
        yield from PresenceMatch.check(self)
        if not self.given:
            yield "", "expected one of exact, prefix, regex, got none"


def _header_matches(node: Node, place: Place) -> Mapping[str, PresenceMatch]:
    found = map_of(obj(PresenceMatch))(node, place)
    for name in found:
        if name in _PSEUDO:
            raise Invalid([place.problem(node, f"use match.{name} instead of a header {name!r}")])
        if name.startswith(ROUTING_CLAIMS):
            if not routing_claim(name):
                message = f"{name!r} names no claim; write {ROUTING_CLAIMS}.NAME or [NAME][NESTED]"
                raise Invalid([place.problem(node, message)])
        elif not HEADER_NAME.fullmatch(name):
            raise Invalid([place.problem(node, f"{name!r} is not a header name")])
    return found


@record
class HttpMatch(Record):
    name: str = optional(text, "")
    uri: StringMatch | None = optional(obj(StringMatch))
    ignore_uri_case: bool = optional(boolean, False)
    scheme: StringMatch | None = optional(obj(StringMatch))
    method: StringMatch | None = optional(obj(StringMatch))
    authority: StringMatch | None = optional(obj(StringMatch))
    headers: Mapping[str, PresenceMatch] = optional(_header_matches, {})
    without_headers: Mapping[str, PresenceMatch] = optional(_header_matches, {})
    query_params: Mapping[str, PresenceMatch] = optional(map_of(obj(PresenceMatch)), {})
    port: int | None = optional(PORT)
    source_labels: Mapping[str, str] = optional(LABELS, {})
    source_namespace: str = optional(optional_label, "")
    gateways: tuple[str, ...] = optional(GATEWAYS, ())
    stat_prefix: str = optional(text, "")

    @property
    def regexes(self) -> Iterator[str]:
        """The fields that hold a regular expression, which delegation can not compare."""
        single = {k: getattr(self, k) for k in ("uri", "scheme", "method", "authority")}
        many = {
            "headers": self.headers,
            "withoutHeaders": self.without_headers,
            "queryParams": self.query_params,
        }
        yield from (k for k, match in single.items() if match is not None and match.regex)
        for key, matches in many.items():
            yield from (f"{key}.{name}" for name, match in matches.items() if match.regex)
