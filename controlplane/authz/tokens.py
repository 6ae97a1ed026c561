"""What becomes of a token's claims at a workload: known, unknown to it, or refused (jwt_authn)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from controlplane.mesh.policy import TokenRule
from protos.frozen import frozen


@frozen
class Verified:
    """claims: what policies see. refusal: why the request ends with `status`. by: whose rule."""

    claims: Mapping[str, Any] | None = None
    status: int = 0
    refusal: str = ""
    by: TokenRule | None = None
    note: str = ""


def verified(claims: Mapping[str, Any] | None, rules: Sequence[TokenRule]) -> Verified:
    """claims: the payload of a token whose signature and dates are good; None without a token."""
    if claims is None:
        return Verified()
    if not rules:
        note = "no RequestAuthentication is for this workload: the claims are not looked at"
        return Verified(note=note)
    issuer = claims.get("iss", "")
    found = [rule for rule in rules if rule.issuer in ("", issuer)]
    if not found:
        known = ", ".join(sorted({rule.issuer for rule in rules}))
        refusal = f"the token's issuer {issuer!r} is none of those that count: {known}"
        return Verified(status=401, refusal=refusal, by=rules[0])
    rule = next((rule for rule in found if _is_for(claims, rule)), None)
    if rule is None:
        wanted = ", ".join(sorted({one for rule in found for one in rule.audiences}))
        refusal = f"the token's audience {claims.get('aud', '')!r} is not one of: {wanted}"
        return Verified(status=403, refusal=refusal, by=found[0])
    if not rule.jwks and not rule.jwks_uri and not rule.discovers:
        refusal = f"no keys are known of the issuer {issuer!r}"
        return Verified(status=401, refusal=refusal, by=rule)
    return Verified(_normalized(claims, rule.space_delimited_claims), by=rule)


def _is_for(claims: Mapping[str, Any], rule: TokenRule) -> bool:
    audience = claims.get("aud", ())
    given = (audience,) if isinstance(audience, str) else audience
    return not rule.audiences or any(one in rule.audiences for one in given)


def _normalized(claims: Mapping[str, Any], spaced: Iterable[str]) -> Mapping[str, Any]:
    """Claims that are lists of words stand as lists in the metadata that policies see."""
    split = {name: claims[name].split(" ") for name in spaced if isinstance(claims.get(name), str)}
    return {**claims, **split}
