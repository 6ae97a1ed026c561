"""Gateway API's HTTPRoute."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from controlplane.kinds.decoders import enum, integer
from controlplane.kinds.gateway_api.filters import (
    HTTP_BACKENDS,
    HTTP_FILTERS,
    METHODS,
    HttpBackendRef,
    HttpFilter,
    filter_faults,
)
from controlplane.kinds.gateway_api.persistence import SessionPersistence
from controlplane.kinds.gateway_api.references import (
    PARENTS,
    SCOPE,
    ParentReference,
    Scope,
    name_faults,
    parent_faults,
)
from controlplane.kinds.gateway_api.words import (
    HEADER_NAME,
    HEADER_VALUE,
    HOSTNAME,
    SECTION,
    STABLE,
    bounded,
    gep_duration,
    items,
    itself,
)
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Record, obj, optional, record, required

MAX_MATCHES = 128
_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")
_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F", "#")
_NOT_AT_ENDS = ("/..", "/.")

_KIND_OF_VALUE = enum("Exact", "RegularExpression")
ValueKind = Literal["Exact", "RegularExpression"]


# --------------------------------------------------------------------------- matches


@record
class PathMatch(Record):
    type: Literal["Exact", "PathPrefix", "RegularExpression"] = optional(
        enum("Exact", "PathPrefix", "RegularExpression"), "PathPrefix"
    )
    value: str = optional(bounded(1024), "/")

    def check(self) -> Iterator[tuple[str, str]]:
        value = self.value
        if self.type == "RegularExpression":
            return
        if not value.startswith("/"):
            yield "value", f"expected a path that begins with '/', got {value!r}"
        elif not _PATH.fullmatch(value):
            yield "value", f"{value!r} has a character that can not stand in a path"
        for mark in _NOT_IN_PATHS:
            if mark in value:
                yield "value", f"must not contain {mark!r}"
        for mark in _NOT_AT_ENDS:
            if value.endswith(mark):
                yield "value", f"must not end with {mark!r}"


@record
class ValueMatch(Record):
    """A header's; `of_query` has the bounds of a parameter's."""

    type: ValueKind = optional(_KIND_OF_VALUE, "Exact")
    name: str = required(HEADER_NAME)
    value: str = required(HEADER_VALUE)


@record
class QueryMatch(ValueMatch):
    value: str = required(bounded(1024, 1))


def _name_of(match: ValueMatch) -> str:
    return match.name


_ANY_PATH = PathMatch()


@record
class HttpRouteMatch(Record):
    path: PathMatch = optional(obj(PathMatch), _ANY_PATH)
    headers: tuple[ValueMatch, ...] = optional(items(obj(ValueMatch), 16, unique=_name_of), ())
    query_params: tuple[QueryMatch, ...] = optional(items(obj(QueryMatch), 16, unique=_name_of), ())
    method: str = optional(enum(*METHODS), "")


# --------------------------------------------------------------------------- rules


@record
class Timeouts(Record):
    """In seconds; 0 is no timeout, None the implementation's choice."""

    request_s: float | None = optional(gep_duration)
    backend_request_s: float | None = optional(gep_duration)

    def check(self) -> Iterator[tuple[str, str]]:
        request_s, backend_s = self.request_s, self.backend_request_s
        if request_s and backend_s is not None and backend_s > request_s:
            yield "backendRequest", "must not be longer than request"


@record
class Retry(Record):
    codes: tuple[int, ...] = optional(items(integer(400, 599), 200, unique=itself), ())
    attempts: int | None = optional(integer(1, 2**31 - 1))
    backoff_s: float | None = optional(gep_duration)


@record
class HttpRouteRule(Record):
    name: str = optional(SECTION, "")
    matches: tuple[HttpRouteMatch, ...] = optional(
        items(obj(HttpRouteMatch), 64), (HttpRouteMatch(),)
    )
    filters: tuple[HttpFilter, ...] = optional(HTTP_FILTERS, ())
    backend_refs: tuple[HttpBackendRef, ...] = optional(HTTP_BACKENDS, ())
    timeouts: Timeouts = optional(obj(Timeouts), Timeouts())
    retry: Retry | None = optional(obj(Retry))
    session_persistence: SessionPersistence | None = optional(obj(SessionPersistence))

    def check(self) -> Iterator[tuple[str, str]]:
        yield from filter_faults(self.filters)
        if self.backend_refs and any(f.request_redirect is not None for f in self.filters):
            yield "backendRefs", "must be empty where a RequestRedirect answers"
        every = [*self.filters, *(f for ref in self.backend_refs for f in ref.filters)]
        prefix = len(self.matches) == 1 and self.matches[0].path.type == "PathPrefix"
        if any(one.replaces_prefix for one in every) and not prefix:
            yield "matches", "ReplacePrefixMatch needs exactly one match, of type PathPrefix"


@record
class HttpRouteSpec(Record):
    parent_refs: tuple[ParentReference, ...] = optional(PARENTS, ())
    use_default_gateways: Scope = optional(SCOPE, "")
    hostnames: tuple[str, ...] = optional(items(HOSTNAME, 16), ())
    rules: tuple[HttpRouteRule, ...] = optional(
        items(obj(HttpRouteRule), 16, 1), (HttpRouteRule(),)
    )

    def check(self) -> Iterator[tuple[str, str]]:
        yield from parent_faults(self.parent_refs)
        yield from name_faults(self.rules)
        if sum(len(rule.matches) for rule in self.rules) > MAX_MATCHES:
            yield "rules", f"more than {MAX_MATCHES} matches in all"


@record
class HTTPRoute(Object):
    API_VERSIONS = STABLE
    spec: HttpRouteSpec = required(obj(HttpRouteSpec))
