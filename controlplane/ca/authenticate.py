"""Who is calling: a bearer token (admin, join or service-account token) or the SVID of a mutual-TLS
connection.

One door for all services. A token that is presented decides, also over mutual TLS: a bad one is
refused, not passed over. What a caller may do is the services' business.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from certs.errors import CertificateError
from certs.x509 import Certificate, check_valid_at
from controlplane.ca.caller import (
    Caller,
    Context,
    Kind,
    ServiceAccountTokens,
    Unauthenticated,
)
from controlplane.ca.shown import principal, shown
from controlplane.ca.tokens import JoinTokens, Refusal
from controlplane.rpc.heads import Metadata

_BEARER = "bearer "
_KINDS: dict[Refusal, Kind] = {
    Refusal.UNKNOWN: "token_unknown",
    Refusal.EXPIRED: "token_expired",
    Refusal.USED: "token_used",
    Refusal.SINGLE_USE: "token_single_use",
}


class Authenticator:
    """Knows the join tokens, the administrator's token and the trust domain.

    service_accounts None: Kubernetes' tokens are not accepted. revoked(certificate) says why a
    certificate counts no more, '' if it does.
    """

    __slots__ = (
        "_admin_digest", "_clock", "_revoked", "_service_accounts", "_tokens", "_trust_domain",
    )  # fmt: skip

    def __init__(
        self,
        tokens: JoinTokens,
        admin_token: str,
        trust_domain: str,
        *,
        service_accounts: ServiceAccountTokens | None = None,
        revoked: Callable[[Certificate], str] = lambda certificate: "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._admin_digest = _digest(admin_token)
        self._trust_domain = trust_domain
        self._service_accounts = service_accounts
        self._revoked = revoked
        self._clock = clock

    async def authenticate(self, context: Context, now: float) -> Caller | Unauthenticated:
        """The caller of a stream or a management call. Of join tokens only reusable ones count."""
        return await self._authenticate(context, now, for_certificate=False)

    async def authenticate_for_certificate(
        self, context: Context, now: float
    ) -> Caller | Unauthenticated:
        """The caller of CreateCertificate: a join token must be spent before it is believed."""
        return await self._authenticate(context, now, for_certificate=True)

    def principal(self, facts: Mapping[str, Iterable[bytes]]) -> str:
        """For our gRPC server: whose connection it is that has shown this in its handshake."""
        return principal(facts)

    def knows(self, metadata: Metadata) -> bool:
        """For our gRPC server: a token of ours is there, which may be shown again. One of
        Kubernetes' takes a while."""
        authorization = dict(metadata).get("authorization")
        if not isinstance(authorization, str) or not authorization.lower().startswith(_BEARER):
            return False
        token = authorization[len(_BEARER) :].strip()
        if hmac.compare_digest(_digest(token), self._admin_digest):
            return True
        return not isinstance(self._tokens.authenticate(token, self._clock()), Refusal)

    async def _authenticate(
        self, context: Context, now: float, *, for_certificate: bool
    ) -> Caller | Unauthenticated:
        caller = await self._judged(context, now, for_certificate)
        if isinstance(caller, Caller) and not caller.join_token:  # which may be spent already
            context.believe(str(caller.identity or "administrator"))
        return caller

    async def _judged(
        self, context: Context, now: float, for_certificate: bool
    ) -> Caller | Unauthenticated:
        authorization = _authorization(context)
        if authorization is None:
            return self._by_certificate(context, now)
        if not authorization.lower().startswith(_BEARER):
            return Unauthenticated("authorization is not 'Bearer <token>'", "not_bearer")
        token = authorization[len(_BEARER) :].strip()
        if hmac.compare_digest(_digest(token), self._admin_digest):
            return Caller(None, admin=True, how="token")
        if "." in token:
            # Ours are base64url and have none; a JWT has two.
            return await self._by_service_account(token, now)
        look = self._tokens.identify if for_certificate else self._tokens.authenticate
        identity = look(token, now)
        if isinstance(identity, Refusal):
            return refused(identity)
        return Caller(identity, False, "token", token if for_certificate else "")

    async def _by_service_account(self, token: str, now: float) -> Caller | Unauthenticated:
        if self._service_accounts is None:
            return Unauthenticated(
                "service-account tokens are not accepted here: start the control plane with "
                "--token-review or --service-account-jwks, or use a join token",
                "token_unsupported",
            )
        caller = await self._service_accounts.check(token, now)
        return replace(caller, bearer=token) if isinstance(caller, Caller) else caller

    def _by_certificate(self, context: Context, now: float) -> Caller | Unauthenticated:
        """The SVID of the connection, which must still be valid: connections outlive handshakes.

        There is no grace: whoever let its certificate expire must prove itself by a token again.
        """
        try:
            peer = shown(context)
        except CertificateError as error:
            return _bad_certificate(str(error), "certificate_malformed")
        if peer is None:
            return Unauthenticated(
                "no credentials: send a bearer token, or use mutual TLS", "no_credentials"
            )
        try:
            check_valid_at(peer.leaf, now, "client certificate")
        except CertificateError as error:
            return _bad_certificate(str(error), "certificate_time")
        for one in (peer.leaf, *peer.signers):
            if revoked := self._revoked(one):
                return _bad_certificate(revoked, "certificate_revoked")
        if peer.identity.trust_domain != self._trust_domain:
            return Unauthenticated(
                f"client certificate is of trust domain {peer.identity.trust_domain}, "
                f"not {self._trust_domain}",
                "certificate_trust_domain",
            )
        return Caller(peer.identity, admin=False, how="svid")


def shown_leaf(context: Context) -> Certificate | None:
    """The verified client certificate of the connection; None if there is none."""
    peer = shown(context)
    return peer.leaf if peer is not None else None


def refused(refusal: Refusal) -> Unauthenticated:
    """What a join token's refusal says to its bearer."""
    return Unauthenticated(refusal.value, _KINDS[refusal])


def _bad_certificate(reason: str, kind: Kind) -> Unauthenticated:
    return Unauthenticated(f"client certificate is not accepted: {reason}", kind)


def _authorization(context: Context) -> str | None:
    """The one `authorization` of the call; several are joined, which no token matches."""
    values = [
        value if isinstance(value, str) else value.decode("latin-1")
        for key, value in context.invocation_metadata() or ()
        if key == "authorization"
    ]
    return ", ".join(values) if values else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
