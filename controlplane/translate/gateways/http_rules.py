"""HTTPRoute and GRPCRoute rules -> rules of the neutral mesh.

Each match becomes a rule of its own, so that rules of several routes can be put in order. What is
wrong with a rule makes it answer 500; it never falls through to another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from controlplane.kinds.gateway_api.filters import GrpcBackendRef, GrpcFilter, HttpBackendRef
from controlplane.kinds.gateway_api.grpc_route import GrpcMethodMatch, GRPCRoute, GrpcRouteRule
from controlplane.kinds.gateway_api.http_route import (
    HTTPRoute,
    HttpRouteMatch,
    HttpRouteRule,
    PathMatch,
    Retry,
    Timeouts,
    ValueMatch,
)
from controlplane.mesh import model
from controlplane.mesh.http_rules import Session
from controlplane.mesh.model import (
    Destination,
    DirectResponse,
    HttpRule,
    RouteMatch,
    StringMatch,
)
from controlplane.mesh.policy import Authorizer
from controlplane.translate.gateways.backends import INVALID, Backends, Watched
from controlplane.translate.gateways.external_auth import GRPC_PORTS, authorizer_of
from controlplane.translate.gateways.filters import Effects, effects_of
from controlplane.translate.gateways.patterns import fault_in, first_fault
from controlplane.translate.gateways.sessions import session_of
from controlplane.translate.gateways.words import Fault
from protos.frozen import frozen, replace

UNAVAILABLE = 500
"""What a request gets whose rule has nowhere to send it (Gateway API)."""

GRPC_NAME = "[^/]+"
_ANY_REQUEST = HttpRouteMatch()
_RETRIED = ("connect-failure", "refused-stream", "reset")
_DEFAULT_ATTEMPTS = 2


@frozen
class Entrance:
    """Where requests come in: the port, and the scheme that they have there."""

    port: int
    scheme: Literal["http", "https"]


@frozen
class Made:
    """A route's rules, what could not be resolved in them, and what is not supported."""

    rules: tuple[HttpRule, ...]
    unresolved: Fault | None = None
    unsupported: Fault | None = None
    broken: int = 0
    count: int = 0

    @property
    def refused(self) -> Fault | None:
        """None of its rules can be."""
        return self.unsupported if self.broken == self.count else None

    @property
    def lessened(self) -> Fault | None:
        """Some of its rules can't be."""
        return self.unsupported if self.broken < self.count else None


class HttpRules:
    __slots__ = ("_backends",)

    def __init__(self, backends: Backends | Watched) -> None:
        self._backends = backends

    def of(self, route: HTTPRoute | GRPCRoute, entrance: Entrance) -> Made:
        made = [
            _Rule(self._backends, route, rule, entrance, index).made()
            for index, rule in enumerate(_rules(route))
        ]
        return Made(
            tuple(rule for one in made for rule in one.rules),
            next((one.unresolved for one in made if one.unresolved), None),
            next((one.unsupported for one in made if one.unsupported), None),
            sum(one.unsupported is not None for one in made),
            len(made),
        )


def _rules(route: HTTPRoute | GRPCRoute) -> Sequence[HttpRouteRule | GrpcRouteRule]:
    """A GRPCRoute without rules takes every call, and has nowhere to send it."""
    return route.spec.rules


class _Rule:
    """One rule on its way."""

    def __init__(
        self,
        backends: Backends | Watched,
        route: HTTPRoute | GRPCRoute,
        rule: HttpRouteRule | GrpcRouteRule,
        entrance: Entrance,
        index: int,
    ) -> None:
        self._backends = backends
        self._route = route
        self._rule = rule
        self._entrance = entrance
        self._index = index
        self._unresolved: Fault | None = None

    def made(self) -> Made:
        prefix = self._prefix()
        entrance, references = self._entrance, self._rule.backend_refs
        filters = tuple(self._rule.filters)
        if len(references) == 1 and references[0].weight:
            filters += _beyond_headers(references[0])
        effects = effects_of(filters, prefix, entrance.port, entrance.scheme)
        session = session_of(self._rule.session_persistence, self._name)
        no_session = session if isinstance(session, Fault) else None
        unsupported = self._named(
            effects.unsupported or no_session or first_fault(self._rule.matches)
        )
        mirrors = tuple(self._mirrors(effects))
        authorizers = tuple(self._authorizers(effects))
        destinations = tuple(self._destinations(self._rule.backend_refs, prefix))
        base = replace(self._base(effects, mirrors, destinations), authorizers=authorizers)
        if isinstance(session, Session):
            base = replace(base, session=session)
        if unsupported is not None or len(authorizers) < len(effects.external_auth):
            base = HttpRule((), direct_response=DirectResponse(UNAVAILABLE), name=base.name)
        found = tuple(replace(base, matches=(match,)) for match in self._matches())
        return Made(found, self._unresolved, unsupported)

    def _base(
        self,
        effects: Effects,
        mirrors: tuple[model.Mirror, ...],
        destinations: tuple[Destination, ...],
    ) -> HttpRule:
        rule = self._rule
        base = HttpRule(
            (),
            headers=effects.headers,
            cors=effects.cors,
            name=self._name,
            position=rule.position,
        )
        if effects.redirect is not None:
            return replace(base, redirect=effects.redirect)
        if not any(one.weight for one in destinations):
            return replace(base, direct_response=DirectResponse(UNAVAILABLE))
        return replace(
            base,
            destinations=destinations,
            rewrite=effects.rewrite,
            mirrors=mirrors,
            timeout_s=_timeout_s(rule),
            retry=_retry(rule),
            unresolved_status=500 if isinstance(rule, HttpRouteRule) else 503,
        )

    @property
    def _name(self) -> str:
        route = self._route
        return f"{route.namespace}.{route.name}.{self._rule.name or self._index}"

    def _prefix(self) -> str:
        """What was matched, where one prefix was."""
        if isinstance(self._rule, HttpRouteRule) and len(self._rule.matches) == 1:
            path = self._rule.matches[0].path
            return path.value if path.type == "PathPrefix" else ""
        return ""

    def _named(self, fault: Fault | None) -> Fault | None:
        """Whose fault it is, and where."""
        if fault is None:
            return None
        message = f"spec.rules[{self._index}]: {fault.message}"
        return Fault(fault.reason, message, fault.position or self._rule.position)

    # ------------------------------------------------------------------ backends

    def _destinations(
        self, references: Iterable[HttpBackendRef | GrpcBackendRef], prefix: str
    ) -> Iterator[Destination]:
        for reference in references:
            found = self._backends.resolve(self._route, reference, reference.weight)
            entrance = self._entrance
            effects = effects_of(reference.filters, prefix, entrance.port, entrance.scheme)
            alone = len(self._rule.backend_refs) == 1
            beyond = None if alone else effects.beyond_headers
            fault = found.fault or effects.unsupported or beyond
            self._unresolved = self._unresolved or found.fault
            if fault is None:
                yield replace(found.destination, headers=effects.headers)
            else:
                host = found.destination.host if found.fault else INVALID
                yield replace(found.destination, host=host, resolved=False)

    def _mirrors(self, effects: Effects) -> Iterator[model.Mirror]:
        for mirror in effects.mirrors:
            found = self._backends.resolve(self._route, mirror.backend_ref)
            self._unresolved = self._unresolved or found.fault
            if found.fault is None:
                yield model.Mirror(found.destination, mirror.percent_of_requests)

    def _authorizers(self, effects: Effects) -> Iterator[Authorizer]:
        """Those that can be asked; where one can't, nobody passes."""
        for auth in effects.external_auth:
            spoken = GRPC_PORTS if auth.protocol == "GRPC" else None
            found = self._backends.resolve(self._route, auth.backend_ref, protocols=spoken)
            self._unresolved = self._unresolved or found.fault
            if found.fault is None:
                yield authorizer_of(auth, found.destination)

    # ------------------------------------------------------------------ matches

    def _matches(self) -> Iterator[RouteMatch]:
        """One that has a bad pattern takes nothing."""
        if isinstance(self._rule, HttpRouteRule):
            given = self._rule.matches or (_ANY_REQUEST,)
            yield from (_http_match(match) for match in given if fault_in(match) is None)
            return
        if not self._rule.matches:
            yield RouteMatch()
        for match in self._rule.matches:
            if fault_in(match) is not None:
                continue
            uri = _grpc_uri(match.method) if match.method is not None else None
            headers = _values(match.headers, fold_case=True)
            prefix = uri is not None and uri.kind == "prefix"
            yield RouteMatch(uri=uri, whole_segments=prefix, headers=headers)


def _beyond_headers(reference: HttpBackendRef | GrpcBackendRef) -> tuple[GrpcFilter, ...]:
    """What a lone backend's filters do otherwise, the rule can do."""
    return tuple(
        one
        for one in reference.filters
        if one.request_header_modifier is None and one.response_header_modifier is None
    )


def _http_match(match: HttpRouteMatch) -> RouteMatch:
    return RouteMatch(
        uri=_path(match.path),
        whole_segments=match.path.type == "PathPrefix",
        method=StringMatch("exact", match.method) if match.method else None,
        headers=_values(match.headers, fold_case=True),
        query_params=_values(match.query_params),
    )


def _path(path: PathMatch) -> StringMatch | None:
    """A prefix is of whole segments: /a takes /a and /a/b, not /ab."""
    if path.type == "Exact":
        return StringMatch("exact", path.value)
    if path.type == "RegularExpression":
        return StringMatch("regex", path.value)
    prefix = path.value.rstrip("/")
    return StringMatch("prefix", prefix) if prefix else None


def _grpc_uri(method: GrpcMethodMatch) -> StringMatch:
    service, call = method.service, method.method
    if method.type == "Exact" and service:
        return StringMatch("exact", f"/{service}/{call}") if call else _under(service)
    if method.type == "Exact":
        return StringMatch("regex", f"/{GRPC_NAME}/{re.escape(call)}")
    return StringMatch("regex", f"/{service or GRPC_NAME}/{call or GRPC_NAME}")


def _under(service: str) -> StringMatch:
    return StringMatch("prefix", f"/{service}")


def _values(
    matches: Iterable[ValueMatch], fold_case: bool = False
) -> dict[str, StringMatch | None]:
    """Of two that differ in case the first counts."""
    found: dict[str, StringMatch | None] = {}
    for match in matches:
        name = match.name.lower() if fold_case else match.name
        kind: Literal["exact", "regex"] = "exact" if match.type == "Exact" else "regex"
        found.setdefault(name, StringMatch(kind, match.value))
    return found


# --------------------------------------------------------------------------- time


def _timeout_s(rule: HttpRouteRule | GrpcRouteRule) -> float | None:
    """Of the whole request. A limit for each try limits a request of one try."""
    timeouts = rule.timeouts if isinstance(rule, HttpRouteRule) else Timeouts()
    limits = [timeouts.request_s]
    if not isinstance(rule, HttpRouteRule) or rule.retry is None:
        limits.append(timeouts.backend_request_s)
    given = [limit for limit in limits if limit]
    return min(given) if given else None


def _retry(rule: HttpRouteRule | GrpcRouteRule) -> model.Retry | None:
    if not isinstance(rule, HttpRouteRule) or rule.retry is None:
        return None
    retry: Retry = rule.retry
    return model.Retry(
        attempts=retry.attempts or _DEFAULT_ATTEMPTS,
        per_try_timeout_s=rule.timeouts.backend_request_s or None,
        retry_on=(*_RETRIED, "retriable-status-codes") if retry.codes else _RETRIED,
        retriable_status_codes=retry.codes,
        backoff_s=retry.backoff_s,
    )
