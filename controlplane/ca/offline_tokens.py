"""Service-account tokens checked with the API server's public keys, without asking it.

The keys are a JWKS file (`kubectl get --raw /openid/v1/jwks`), read again when it changes. What an
API server would know and keys do not: that a pod or service account was deleted meanwhile. Tokens
without an end, of Kubernetes before 1.21, are refused.
"""

from __future__ import annotations

import logging
from pathlib import Path

from certs.errors import CertificateError
from certs.files import read_public, version_of
from certs.jwt_keys import KeySet
from certs.jwt_token import EXPIRED, Jwt, JwtError
from controlplane.ca.caller import Attestation, Caller, Unauthenticated
from controlplane.ca.service_accounts import caller_of, fact
from protos.frozen import frozen

log = logging.getLogger("weft.controlplane.ca")

CLOCK_SKEW_S = 10.0
_CLAIMS = "kubernetes.io"


@frozen
class OfflineOptions:
    """jwks: the key file. issuer: `--service-account-issuer` of the API server. audiences: at
    least one of them must be the token's."""

    jwks: Path
    issuer: str
    audiences: tuple[str, ...]


class OfflineTokens:
    """Made once; CertificateError if the key file is not there or holds no key."""

    def __init__(self, options: OfflineOptions, trust_domain: str) -> None:
        self._options = options
        self._trust_domain = trust_domain
        self._seen = version_of(options.jwks)
        self._keys = _load(options.jwks)

    async def check(self, token: str, now: float) -> Caller | Unauthenticated:
        self._refresh()
        try:
            jwt = Jwt(token)
        except JwtError as error:
            return Unauthenticated(str(error), "token_malformed")
        if jwt.issuer != self._options.issuer:
            return Unauthenticated(
                f"token is of issuer {fact(jwt.issuer)!r}, not {self._options.issuer!r}",
                "token_issuer",
            )
        try:
            self._keys.verify(jwt)
        except JwtError as error:
            return Unauthenticated(str(error), "token_signature")
        return _objection(jwt, self._options.audiences, now) or self._caller(jwt)

    def _caller(self, jwt: Jwt) -> Caller | Unauthenticated:
        claims = jwt.claims.get(_CLAIMS)
        facts = claims if isinstance(claims, dict) else {}
        account = _named(facts, "serviceaccount")
        caller = caller_of(jwt.subject, self._trust_domain, _attestation(jwt, facts))
        if isinstance(caller, Caller) and caller.identity is not None:
            said = (fact(facts.get("namespace")), fact(account.get("name")))
            if said != (caller.identity.namespace, caller.identity.service_account):
                return Unauthenticated(
                    f"token's [{_CLAIMS}] is not about its subject {fact(jwt.subject)}",
                    "token_subject",
                )
        return caller

    def _refresh(self) -> None:
        """Takes new keys when the file has changed; keeps the old ones if they cannot be read."""
        version = version_of(self._options.jwks)
        if version == self._seen:
            return
        self._seen = version
        try:
            self._keys = _load(self._options.jwks)
            log.info("read the keys of service-account tokens again: %s", self._options.jwks)
        except CertificateError as error:
            log.error("keys of service-account tokens stay as they were: %s", error)


def _objection(jwt: Jwt, audiences: tuple[str, ...], now: float) -> Unauthenticated | None:
    if not jwt.expires_at:
        return Unauthenticated(
            "token has no end: mount a projected one (serviceAccountToken)", "token_unsupported"
        )
    try:
        jwt.check_time(now, CLOCK_SKEW_S)
    except JwtError as error:
        expired = str(error) == EXPIRED
        return Unauthenticated(str(error), "token_expired" if expired else "token_not_yet_valid")
    if not set(jwt.audiences) & set(audiences):
        return Unauthenticated(
            f"token is for audience {fact(', '.join(jwt.audiences))!r}, not for any of {audiences}",
            "token_audience",
        )
    return None


def _attestation(jwt: Jwt, facts: dict[str, object]) -> Attestation:
    pod, node = _named(facts, "pod"), _named(facts, "node")
    return Attestation(
        fact(pod.get("name")), fact(pod.get("uid")), fact(node.get("name")),
        fact(jwt.claims.get("jti")),
    )  # fmt: skip


def _named(facts: dict[str, object], name: str) -> dict[str, object]:
    value = facts.get(name)
    return value if isinstance(value, dict) else {}


def _load(path: Path) -> KeySet:
    try:
        return KeySet.parse(read_public(path))
    except CertificateError as error:
        where = "" if str(path) in str(error) else f"{path}: "
        raise CertificateError(f"{where}{error}") from error
