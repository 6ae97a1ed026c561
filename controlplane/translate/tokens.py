"""RequestAuthentications -> token policies, oldest first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import urlsplit

from controlplane.kinds.request_authentication import JwtRule, RequestAuthentication, is_url
from controlplane.mesh.model import Service
from controlplane.mesh.policy import TokenPolicy, TokenRule
from controlplane.translate.index import age
from controlplane.translate.report import Report
from controlplane.translate.scopes import Population, scope_of, tell_unused

_ALWAYS_SPACED = ("permission", "scope")
_PORTS = {"http": 80, "https": 443}


def policies(
    items: Iterable[RequestAuthentication],
    services: Iterable[Service],
    population: Population,
    report: Report,
) -> tuple[TokenPolicy, ...]:
    known = {(s.hostname, port.number) for s in services for port in s.ports}
    made: list[TokenPolicy] = []
    for item in sorted(items, key=age):
        scope = scope_of(item, item.spec, report)
        rules = tuple(
            replace(_rule(rule, known), name=_name(item, index))
            for index, rule in enumerate(item.spec.jwt_rules)
        )
        made.append(TokenPolicy(item.namespace, item.name, rules, scope, item.position))
        tell_unused(item, item.spec, scope, population, report)
        _tell_missing_keys(item, report)
    return tuple(made)


def _tell_missing_keys(item: RequestAuthentication, report: Report) -> None:
    for index, rule in enumerate(item.spec.jwt_rules):
        if not rule.jwks and not rule.jwks_uri and not is_url(rule.issuer):
            message = (
                f"spec.jwtRules[{index}]: the issuer {rule.issuer!r} is no URL, so its keys can't "
                "be looked up (OpenID discovery) and each of its tokens is refused; set jwksUri or "
                "jwks"
            )
            report.error(item, rule.at("issuer"), "NoKeys", message)


def _name(item: RequestAuthentication, index: int) -> str:
    """In the form of those of an AuthorizationPolicy."""
    return f"ns[{item.namespace}]-policy[{item.name}]-rule[{index}]"


def _rule(rule: JwtRule, known: set[tuple[str, int]]) -> TokenRule:
    place = _place(rule.jwks_uri) if rule.jwks_uri else None
    return TokenRule(
        issuer=rule.issuer,
        audiences=rule.audiences,
        jwks=rule.jwks,
        jwks_uri=rule.jwks_uri,
        discovers=not rule.jwks and not rule.jwks_uri and is_url(rule.issuer),
        jwks_service=place if place in known else None,
        timeout_s=rule.timeout_s,
        from_headers=tuple((header.name, header.prefix) for header in rule.from_headers),
        from_params=rule.from_params,
        from_cookies=rule.from_cookies,
        payload_header=rule.output_payload_to_header,
        claim_headers=tuple((item.header, item.claim) for item in rule.output_claim_to_headers),
        forward=rule.forward_original_token,
        space_delimited_claims=tuple(sorted({*rule.space_delimited_claims, *_ALWAYS_SPACED})),
        position=rule.position,
    )


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS[parts.scheme]
