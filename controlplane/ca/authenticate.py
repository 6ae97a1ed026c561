"""Who is calling: a bearer token (admin or join token) or the SVID of a mutual-TLS connection.

One door for all services. A token that is presented decides, also over mutual TLS: a bad one is
refused, not passed over. What a caller may do is the services' business.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from certs.errors import CertificateError
from certs.spiffe import SpiffeId
from certs.x509 import chain_from_pem, check_svid, check_valid_at
from controlplane.ca.tokens import JoinTokens, Refusal

_BEARER = "bearer "
# gRPC's name for the peer's certificate, there only if the handshake verified it.
_PEER_CERTIFICATE = "x509_pem_cert"


@dataclass(frozen=True, slots=True)
class Caller:
    """A proven caller. `identity` is None for the administrator.

    `join_token` is set only where a token is still to be spent (`CreateCertificate`).
    """

    identity: SpiffeId | None
    admin: bool
    how: Literal["token", "svid"]
    join_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Unauthenticated:
    """Nobody that we know; `reason` is fit for the caller.

    It is a plain str: gRPC's abort refuses subclasses such as a StrEnum's members.
    """

    reason: str


class Context(Protocol):
    """What is needed of grpc.aio.ServicerContext."""

    def invocation_metadata(self) -> Any: ...
    def auth_context(self) -> Mapping[str, Iterable[bytes]]: ...


class Authenticator:
    """Knows the join tokens, the administrator's token and the trust domain."""

    __slots__ = ("_admin_digest", "_tokens", "_trust_domain")

    def __init__(self, tokens: JoinTokens, admin_token: str, trust_domain: str) -> None:
        self._tokens = tokens
        self._admin_digest = _digest(admin_token)
        self._trust_domain = trust_domain

    def authenticate(self, context: Context, now: float) -> Caller | Unauthenticated:
        """The caller of a stream or a management call. Of join tokens only reusable ones count."""
        return self._authenticate(context, now, for_certificate=False)

    def authenticate_for_certificate(
        self, context: Context, now: float
    ) -> Caller | Unauthenticated:
        """The caller of CreateCertificate: a join token must be spent before it is believed."""
        return self._authenticate(context, now, for_certificate=True)

    def _authenticate(
        self, context: Context, now: float, *, for_certificate: bool
    ) -> Caller | Unauthenticated:
        authorization = _authorization(context)
        if authorization is None:
            return self._by_certificate(context, now)
        if not authorization.lower().startswith(_BEARER):
            return Unauthenticated("authorization is not 'Bearer <token>'")
        token = authorization[len(_BEARER) :].strip()
        if hmac.compare_digest(_digest(token), self._admin_digest):
            return Caller(None, admin=True, how="token")
        look = self._tokens.identify if for_certificate else self._tokens.authenticate
        identity = look(token, now)
        if isinstance(identity, Refusal):
            return Unauthenticated(identity.value)
        return Caller(identity, False, "token", token if for_certificate else "")

    def _by_certificate(self, context: Context, now: float) -> Caller | Unauthenticated:
        """The SVID of the connection, which must still be valid: connections outlive handshakes."""
        pems = tuple(context.auth_context().get(_PEER_CERTIFICATE, ()))
        if not pems:
            return Unauthenticated("no credentials: send a bearer token, or use mutual TLS")
        try:
            chain = chain_from_pem(pems[0], "client certificate")
            identity = check_svid(chain)
            check_valid_at(chain[0], now, "client certificate")
        except CertificateError as error:
            return Unauthenticated(f"client certificate is not accepted: {error}")
        if identity.trust_domain != self._trust_domain:
            return Unauthenticated(
                f"client certificate is of trust domain {identity.trust_domain}, "
                f"not {self._trust_domain}"
            )
        return Caller(identity, admin=False, how="svid")


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
