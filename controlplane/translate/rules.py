"""One VirtualService's `http` entries -> HttpRules, with every destination looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from controlplane.kinds import virtual_service as kinds
from controlplane.kinds.attributes import routing_claim
from controlplane.kinds.virtual_service import VirtualService
from controlplane.mesh import model
from controlplane.mesh.model import (
    ClaimMatch,
    Destination,
    HttpRule,
    Retry,
    RouteMatch,
    StringMatch,
)
from controlplane.translate.index import Hosts
from controlplane.translate.report import Report

DEFAULT_RETRY_ON = (
    "connect-failure",
    "refused-stream",
    "unavailable",
    "cancelled",
    "retriable-status-codes",
)
"""Istio's conditions where `retries` names none; with it goes the status code 503."""


class RuleMaker:
    __slots__ = ("_hosts", "_report")

    def __init__(self, hosts: Hosts, report: Report) -> None:
        self._hosts = hosts
        self._report = report

    def rules(self, item: VirtualService) -> tuple[HttpRule, ...]:
        """In order; rules that only gateways take are left out, unreachable ones are told."""
        made = [
            self._rule(item, f"spec.http[{index}]", route, matches)
            for index, route in enumerate(item.spec.http)
            if (matches := _matches(route))
        ]
        self._tell_shadowed(item, made)
        return tuple(made)

    def _rule(
        self,
        item: VirtualService,
        path: str,
        route: kinds.HttpRoute,
        matches: tuple[RouteMatch, ...],
    ) -> HttpRule:
        return HttpRule(
            matches=matches,
            destinations=tuple(self._destinations(item, path, route)),
            redirect=_redirect(route.redirect),
            direct_response=_direct_response(route.direct_response),
            rewrite=_rewrite(route.rewrite),
            timeout_s=route.timeout_s or None,
            retry=_retry(route.retries),
            headers=_headers(route.headers),
            name=route.name,
            position=route.position,
        )

    # ------------------------------------------------------------------ destinations

    def _destinations(
        self, item: VirtualService, path: str, route: kinds.HttpRoute
    ) -> Iterator[Destination]:
        alone = len(route.route) == 1
        for index, share in enumerate(route.route):
            where = f"{path}.route[{index}]"
            if share.weight is None and not alone:
                message = f"{where} has no weight and gets no request"
                self._report.warning(item, share.position, "NoWeight", message)
            weight = 100 if alone else share.weight or 0
            yield self._destination(item, where, share, weight)

    def _destination(
        self, item: VirtualService, where: str, share: kinds.HttpRouteDestination, weight: int
    ) -> Destination:
        wanted = share.destination
        hostname = self._hosts.full_name(wanted.host, item.namespace)
        service = self._hosts.get(hostname)
        port = wanted.port.number if wanted.port else None
        resolved = self._resolve(item, f"{where}.destination", wanted, hostname, service)
        if port is None and service is not None and len(service.ports) == 1:
            port = service.ports[0].number
        return Destination(
            host=hostname,
            weight=weight,
            subset=wanted.subset,
            port=port,
            headers=_headers(share.headers),
            resolved=resolved,
            position=wanted.at("host"),
        )

    def _resolve(
        self,
        item: VirtualService,
        where: str,
        wanted: kinds.Destination,
        hostname: str,
        service: model.Service | None,
    ) -> bool:
        """Does the destination exist? If not, says what is missing and where it is named."""
        if service is None:
            message = f"{where}.host: no service named {hostname!r}; requests will get 503"
            self._report.error(item, wanted.at("host"), "UnknownService", message)
            return False
        found = True
        if wanted.subset and wanted.subset not in {subset.name for subset in service.subsets}:
            message = (
                f"{where}.subset: no DestinationRule gives {hostname!r} a subset "
                f"{wanted.subset!r}; requests will get 503"
            )
            self._report.error(item, wanted.at("subset"), "UnknownSubset", message)
            found = False
        ports = [port.number for port in service.ports]
        if wanted.port is not None and wanted.port.number not in ports:
            known = ", ".join(map(str, ports)) or "none"
            message = (
                f"{where}.port.number: {hostname!r} has no port {wanted.port.number} "
                f"(it has {known}); requests will get 503"
            )
            self._report.error(item, wanted.port.at("number"), "UnknownPort", message)
            found = False
        return found

    # ------------------------------------------------------------------ order

    def _tell_shadowed(self, item: VirtualService, rules: list[HttpRule]) -> None:
        """Warns of rules that no request can reach."""
        earlier: list[RouteMatch] = []
        everything: HttpRule | None = None
        for rule in rules:
            nameless = [replace(match, name="") for match in rule.matches]
            if everything is not None:
                message = f"never reached: the rule at {everything.position} takes every request"
                self._report.warning(item, rule.position, "Shadowed", message)
            elif all(match in earlier for match in nameless):
                message = "never reached: earlier rules have the same matches"
                self._report.warning(item, rule.position, "Shadowed", message)
            earlier += nameless
            if everything is None and takes_everything(rule):
                everything = rule


def takes_everything(rule: HttpRule) -> bool:
    return any(_is_catch_all(match) for match in rule.matches)


def _is_catch_all(match: RouteMatch) -> bool:
    if match.uri == StringMatch("prefix", "/"):
        match = replace(match, uri=None)
    return replace(match, name="", ignore_uri_case=False) == RouteMatch()


# --------------------------------------------------------------------------- parts of a rule


def _matches(route: kinds.HttpRoute) -> tuple[RouteMatch, ...]:
    """Those that sidecars take; a rule without `match` takes every request."""
    if not route.match:
        return (RouteMatch(),)
    return tuple(
        RouteMatch(
            uri=_string(match.uri),
            ignore_uri_case=match.ignore_uri_case,
            method=_string(match.method),
            authority=_string(match.authority),
            headers=_strings(_plain(match.headers), fold_case=True),
            without_headers=_strings(_plain(match.without_headers), fold_case=True),
            query_params=_strings(match.query_params),
            claims=(*_claims(match.headers), *_claims(match.without_headers, invert=True)),
            source_labels=match.source_labels,
            source_namespace=match.source_namespace,
            port=match.port,
            name=match.name,
        )
        for match in route.match
        if not match.gateways or "mesh" in match.gateways
    )


def _string(match: kinds.StringMatch | kinds.PresenceMatch | None) -> StringMatch | None:
    if match is None:
        return None
    if match.exact is not None:
        return StringMatch("exact", match.exact)
    if match.prefix is not None:
        return StringMatch("prefix", match.prefix)
    return StringMatch("regex", match.regex) if match.regex is not None else None


def _plain(matches: Mapping[str, kinds.PresenceMatch]) -> dict[str, kinds.PresenceMatch]:
    return {name: match for name, match in matches.items() if not routing_claim(name)}


def _claims(
    matches: Mapping[str, kinds.PresenceMatch], invert: bool = False
) -> Iterator[ClaimMatch]:
    for name, match in matches.items():
        if path := routing_claim(name):
            yield ClaimMatch(path, _string(match), invert)


def _strings(
    matches: Mapping[str, kinds.PresenceMatch], fold_case: bool = False
) -> dict[str, StringMatch | None]:
    return {name.lower() if fold_case else name: _string(match) for name, match in matches.items()}


def _redirect(item: kinds.HttpRedirect | None) -> model.Redirect | None:
    if item is None:
        return None
    return model.Redirect(item.uri, item.authority, item.scheme, item.port, item.redirect_code)


def _direct_response(item: kinds.HttpDirectResponse | None) -> model.DirectResponse | None:
    if item is None:
        return None
    return model.DirectResponse(item.status, item.body.string if item.body else "")


def _rewrite(item: kinds.HttpRewrite | None) -> model.Rewrite | None:
    return model.Rewrite(item.uri, item.authority) if item is not None else None


def _retry(item: kinds.HttpRetry | None) -> Retry | None:
    """None: `retries` is not given and the dialect's default holds; attempts 0 turns it off."""
    if item is None:
        return None
    codes = tuple(int(word) for word in item.retry_on if word.isdecimal())
    words = tuple(word for word in item.retry_on if not word.isdecimal())
    if not item.retry_on:
        words, codes = DEFAULT_RETRY_ON, (503,)
    elif codes and "retriable-status-codes" not in words:
        words = (*words, "retriable-status-codes")
    return Retry(
        attempts=item.attempts,
        per_try_timeout_s=item.per_try_timeout_s or None,
        retry_on=words,
        retriable_status_codes=codes,
        previous_hosts=item.retry_ignore_previous_hosts,
    )


def _headers(item: kinds.Headers) -> model.Headers:
    return model.Headers(_operations(item.request), _operations(item.response))


def _operations(item: kinds.HeaderOperations) -> model.HeaderOperations:
    return model.HeaderOperations(item.set, item.add, item.remove)
