"""Istio's VirtualService: HTTP routing rules for hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.kinds.attributes import ROUTING_CLAIMS, routing_claim
from controlplane.kinds.decoders import (
    HOST,
    LABELS,
    PORT,
    boolean,
    duration,
    enum,
    integer,
    line,
    list_of,
    map_of,
    matching,
    text,
)
from controlplane.kinds.objects import Object
from controlplane.kinds.regex import fault_of
from controlplane.kinds.schema import (
    Invalid,
    Place,
    Record,
    names,
    notes,
    obj,
    optional,
    record,
    required,
)
from controlplane.kinds.service_entry import NETWORKING, not_public
from controlplane.kinds.yaml_nodes import Node

# Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on, as Istio accepts them.
RETRY_ON = names(
    "5xx gateway-error reset reset-before-request connect-failure envoy-ratelimited "
    "retriable-4xx refused-stream retriable-status-codes retriable-headers "
    "http3-post-connect-failure cancelled deadline-exceeded internal resource-exhausted unavailable"
)
MAX_BODY_BYTES = 4096
"""Envoy's max_direct_response_body_size_bytes where a RouteConfiguration does not set it."""
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_GATEWAY = matching(
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?",
    "'mesh', or the name of a Gateway, also as namespace/name",
)
_PSEUDO = names("uri scheme method authority")


# --------------------------------------------------------------------------- matches


@record
class PresenceMatch(Record):
    """At most one is set; none means that the header is present."""

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
        elif not _HEADER_NAME.fullmatch(name):
            raise Invalid([place.problem(node, f"{name!r} is not a header name")])
    return found


@record
class HttpMatch(Record):
    UNSUPPORTED = names("scheme statPrefix")
    name: str = optional(text, "")
    uri: StringMatch | None = optional(obj(StringMatch))
    ignore_uri_case: bool = optional(boolean, False)
    method: StringMatch | None = optional(obj(StringMatch))
    authority: StringMatch | None = optional(obj(StringMatch))
    headers: Mapping[str, PresenceMatch] = optional(_header_matches, {})
    without_headers: Mapping[str, PresenceMatch] = optional(_header_matches, {})
    query_params: Mapping[str, PresenceMatch] = optional(map_of(obj(PresenceMatch)), {})
    port: int | None = optional(PORT)
    source_labels: Mapping[str, str] = optional(LABELS, {})
    source_namespace: str = optional(text, "")
    gateways: tuple[str, ...] = optional(list_of(_GATEWAY), ())


# --------------------------------------------------------------------------- actions


def _header_name(node: Node, place: Place) -> str:
    value = text(node, place)
    if not _HEADER_NAME.fullmatch(value):
        raise place.refuse(node, "a header name")
    return value


def _header_values(node: Node, place: Place) -> Mapping[str, str]:
    found = map_of(line)(node, place)
    for name in found:
        if not _HEADER_NAME.fullmatch(name):
            raise Invalid([place.problem(node, f"{name!r} is not a header name")])
    return found


@record
class HeaderOperations(Record):
    set: Mapping[str, str] = optional(_header_values, {})
    add: Mapping[str, str] = optional(_header_values, {})
    remove: tuple[str, ...] = optional(list_of(_header_name), ())


@record
class Headers(Record):
    request: HeaderOperations = optional(obj(HeaderOperations), HeaderOperations())
    response: HeaderOperations = optional(obj(HeaderOperations), HeaderOperations())


@record
class PortSelector(Record):
    number: int = required(PORT)


@record
class Destination(Record):
    host: str = required(HOST)
    subset: str = optional(text, "")
    port: PortSelector | None = optional(obj(PortSelector))

    def check(self) -> Iterator[tuple[str, str]]:
        if "*" in self.host:
            yield "host", "a destination can not be a wildcard"


@record
class HttpRouteDestination(Record):
    destination: Destination = required(obj(Destination))
    weight: int | None = optional(integer(0, 2**31 - 1))
    headers: Headers = optional(obj(Headers), Headers())


@record
class HttpRedirect(Record):
    UNSUPPORTED = names("derivePort prefixRewrite")
    uri: str = optional(line, "")
    authority: str = optional(line, "")
    scheme: Literal["", "http", "https"] = optional(enum("http", "https"), "")
    port: int | None = optional(PORT)
    redirect_code: int = optional(integer(301, 308), 301)

    def check(self) -> Iterator[tuple[str, str]]:
        if self.redirect_code not in (301, 302, 303, 307, 308):
            yield "redirectCode", f"expected 301, 302, 303, 307 or 308, got {self.redirect_code}"
        if not (self.uri or self.authority or self.scheme or self.port):
            yield "", "needs a uri, authority, scheme or port"


@record
class HttpBody(Record):
    UNSUPPORTED = names("bytes")
    string: str = optional(text, "")

    def check(self) -> Iterator[tuple[str, str]]:
        if len(self.string.encode()) > MAX_BODY_BYTES:
            yield "string", f"more than {MAX_BODY_BYTES} bytes are not supported yet"


@record
class HttpDirectResponse(Record):
    status: int = required(integer(200, 599))
    body: HttpBody | None = optional(obj(HttpBody))


@record
class HttpRewrite(Record):
    UNSUPPORTED = names("uriRegexRewrite")
    uri: str = optional(line, "")
    authority: str = optional(line, "")

    def check(self) -> Iterator[tuple[str, str]]:
        if not (self.uri or self.authority):
            yield "", "needs a uri or an authority"


def _retry_on(node: Node, place: Place) -> tuple[str, ...]:
    """A comma-separated list of conditions and status codes."""
    parts = tuple(part.strip() for part in text(node, place).split(","))
    for part in parts:
        if part not in RETRY_ON and not re.fullmatch("[1-5][0-9][0-9]", part):
            known = ", ".join(sorted(RETRY_ON))
            message = f"no retry condition {part!r}; expected a status code or one of {known}"
            raise Invalid([place.problem(node, message)])
    return parts


@record
class HttpRetry(Record):
    UNSUPPORTED = names("backoff")
    NOTED = notes(retryRemoteLocalities="has no effect yet: localities have no priorities")
    attempts: int = optional(integer(0, 2**31 - 1), 0)
    per_try_timeout_s: float | None = optional(duration)
    retry_on: tuple[str, ...] = optional(_retry_on, ())
    retry_ignore_previous_hosts: bool = optional(boolean, True)

    def check(self) -> Iterator[tuple[str, str]]:
        if self.attempts == 0 and (self.retry_on or self.per_try_timeout_s):
            yield "attempts", "is 0, which turns retries off; the other fields must not be set"
        if self.per_try_timeout_s is not None and 0 < self.per_try_timeout_s < 0.001:
            yield "perTryTimeout", "must be at least 1ms"


# --------------------------------------------------------------------------- the rule


@record
class HttpRoute(Record):
    UNSUPPORTED = names(
        "corsPolicy delegate fault mirror mirrorPercent mirrorPercentage mirror_percent mirrors"
    )
    name: str = optional(text, "")
    match: tuple[HttpMatch, ...] = optional(list_of(obj(HttpMatch)), ())
    route: tuple[HttpRouteDestination, ...] = optional(list_of(obj(HttpRouteDestination)), ())
    redirect: HttpRedirect | None = optional(obj(HttpRedirect))
    direct_response: HttpDirectResponse | None = optional(obj(HttpDirectResponse))
    rewrite: HttpRewrite | None = optional(obj(HttpRewrite))
    timeout_s: float | None = optional(duration)
    retries: HttpRetry | None = optional(obj(HttpRetry))
    headers: Headers = optional(obj(Headers), Headers())

    def check(self) -> Iterator[tuple[str, str]]:
        actions = {
            "route": bool(self.route),
            "redirect": self.redirect is not None,
            "directResponse": self.direct_response is not None,
        }
        given = [key for key, there in actions.items() if there]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            yield "", f"expected exactly one of route, redirect, directResponse, got {found}"
        if len(self.route) > 1 and not any(item.weight for item in self.route):
            yield "route", "the weights are all 0, so no destination gets a request"
        if sum(item.weight or 0 for item in self.route) > 2**32 - 1:
            yield "route", "the weights add up to more than 4294967295"
        if self.rewrite is not None and not self.route:
            yield "rewrite", "needs a route"


def _asks_for_claims(route: HttpRoute) -> bool:
    names = (name for match in route.match for name in (*match.headers, *match.without_headers))
    return any(name.startswith(ROUTING_CLAIMS) for name in names)


@record
class VirtualServiceSpec(Record):
    UNSUPPORTED = names("tcp tls")
    hosts: tuple[str, ...] = required(list_of(HOST, 1))
    gateways: tuple[str, ...] = optional(list_of(_GATEWAY), ())
    http: tuple[HttpRoute, ...] = optional(list_of(obj(HttpRoute)), ())
    export_to: tuple[str, ...] = optional(list_of(text), ())

    def check(self) -> Iterator[tuple[str, str]]:
        yield from not_public(self.export_to, (".", "*"))
        if not self.http:
            yield "http", "needs at least one rule"
        if not set(self.gateways) - {"mesh"} and any(map(_asks_for_claims, self.http)):
            yield "gateways", "claims (@request.auth.claims) choose a route at gateways only"
        for index, host in enumerate(self.hosts):
            if host in self.hosts[:index]:
                yield f"hosts[{index}]", f"{host!r} is given twice"
            if host == "*" and (not self.gateways or "mesh" in self.gateways):
                yield f"hosts[{index}]", "'*' alone is only for gateways, not for the mesh"


@record
class VirtualService(Object):
    API_VERSIONS = NETWORKING
    spec: VirtualServiceSpec = required(obj(VirtualServiceSpec))
