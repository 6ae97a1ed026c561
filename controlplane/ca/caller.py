"""What a caller has proven, or why it has proven nothing.

Shared by all that look at credentials. Knows none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, Literal, Protocol

from certs.spiffe import SpiffeId
from protos.frozen import frozen

Kind = Literal[
    "no_credentials",
    "not_bearer",
    "token_unknown",
    "token_expired",
    "token_used",
    "token_single_use",
    "token_malformed",
    "token_issuer",
    "token_signature",
    "token_not_yet_valid",
    "token_audience",
    "token_subject",
    "token_rejected",
    "token_unsupported",
    "review_unavailable",
    "certificate_malformed",
    "certificate_time",
    "certificate_revoked",
    "certificate_trust_domain",
]
"""Why nobody was recognised, as the label of a counter."""


@frozen
class Attestation:
    """Where the bearer of a service-account token runs, as Kubernetes says; '' where it does not.

    credential is the token's id (JTI), so that the API server's audit log can be searched for it.
    """

    pod: str = ""
    pod_uid: str = ""
    node: str = ""
    credential: str = ""

    def __str__(self) -> str:
        names = ("pod", "pod_uid", "node", "credential")
        return " ".join(f"{name}={getattr(self, name)}" for name in names if getattr(self, name))


NOTHING_ATTESTED = Attestation()


@frozen
class Caller:
    """A proven caller. `identity` is None for the administrator.

    `join_token` is set only where a token is still to be spent (`CreateCertificate`). `bearer` is
    a service-account token itself, and `attested` what else is known of who brought it.
    """

    identity: SpiffeId | None
    admin: bool
    how: Literal["token", "svid", "kubernetes"]
    join_token: str = field(default="", repr=False)
    attested: Attestation = NOTHING_ATTESTED
    bearer: str = field(default="", repr=False, compare=False)


@frozen
class Unauthenticated:
    """Nobody that we know; `reason` is fit for the caller and never holds a secret.

    It is a plain str: gRPC's abort refuses subclasses such as a StrEnum's members.
    """

    reason: str
    kind: Kind

    @property
    def temporary(self) -> bool:
        """It is our fault: the caller should try again with the same credentials."""
        return self.kind == "review_unavailable"


class Context(Protocol):
    """What is needed of our server's. believe: tells it who the caller is."""

    def invocation_metadata(self) -> Any: ...
    def auth_context(self) -> Mapping[str, Iterable[bytes]]: ...
    def believe(self, principal: str) -> None: ...


class ServiceAccountTokens(Protocol):
    """Checks Kubernetes' tokens: by asking an API server, or by its keys."""

    async def check(self, token: str, now: float) -> Caller | Unauthenticated: ...
