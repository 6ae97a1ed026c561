"""RequestAuthentications -> token policies."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from controlplane.kinds.request_authentication import JwtRule, RequestAuthentication, is_url
from controlplane.mesh.policy import TokenPolicy, TokenRule
from controlplane.translate.index import Hosts
from controlplane.translate.report import Report
from controlplane.translate.scopes import Population, scope_of, tell_unused

_ALWAYS_SPACED = ("permission", "scope")
_PORTS = {"http": 80, "https": 443}


def policy(
    hosts: Hosts, population: Population, report: Report, item: RequestAuthentication
) -> TokenPolicy:
    scope = scope_of(item, item.spec, report)
    rules = tuple(
        replace(_rule(rule, hosts), name=_name(item, index))
        for index, rule in enumerate(item.spec.jwt_rules)
    )
    tell_unused(item, item.spec, scope, population, report)
    _tell_missing_keys(item, report)
    return TokenPolicy(item.namespace, item.name, rules, scope, item.position)


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


def _rule(rule: JwtRule, hosts: Hosts) -> TokenRule:
    return TokenRule(
        issuer=rule.issuer,
        audiences=rule.audiences,
        jwks=rule.jwks,
        jwks_uri=rule.jwks_uri,
        discovers=not rule.jwks and not rule.jwks_uri and is_url(rule.issuer),
        jwks_service=_service(rule.jwks_uri, hosts),
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


def _service(url: str, hosts: Hosts) -> tuple[str, int] | None:
    """Host and port of the mesh's service where it is."""
    parts = urlsplit(url)
    found = hosts.get(parts.hostname or "") if url else None
    if found is None:
        return None
    port = parts.port or _PORTS[parts.scheme]
    known = any(one.number == port for one in found.ports)
    return (found.hostname, port) if known else None
