"""Istio's RequestAuthentication: which tokens (JWT) a workload takes, and where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from certs.errors import CertificateError
from certs.jwt_keys import KeySet
from controlplane.kinds.decoders import (
    boolean,
    line,
    list_of,
    matching,
    positive_duration,
    text,
)
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Invalid, Place, Record, obj, optional, record, required
from controlplane.kinds.selectors import (
    SECURITY,
    SELECTOR,
    TARGET_REF,
    TargetRef,
    WorkloadSelector,
    named,
    one_way_of_choosing,
)
from controlplane.kinds.yaml_nodes import Node
from controlplane.mesh.ip import is_ip

DEFAULT_TIMEOUT_S = 5.0
_HOST_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_HEADER = matching(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "a header name")
_STRICT_HEADER = matching(r"[-_A-Za-z0-9]+", "a header name of letters, digits, '-' and '_'")


def _jwks(node: Node, place: Place) -> str:
    """A JSON Web Key Set (RFC 7517) with at least one public key that can be used: without one
    proxies would refuse the whole listener."""
    value = text(node, place)
    try:
        KeySet.parse(value)
    except CertificateError as error:
        raise Invalid([place.problem(node, str(error))]) from None
    return value


def _url(node: Node, place: Place) -> str:
    value = text(node, place)
    if not is_url(value):
        raise place.refuse(node, "a URL such as https://idp.example.com/keys")
    return value


def is_url(value: str) -> bool:
    """http or https, with a host name, and a port that is one; printable ASCII (Envoy refuses a
    listener whose jwt_authn has another)."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    good_host = is_ip(host) or _HOST_NAME.fullmatch(host) is not None
    return parts.scheme in ("http", "https") and good_host and port != 0 and _is_plain(value)


def _is_plain(value: str) -> bool:
    return all("!" <= character <= "~" for character in value)


@record
class JwtHeader(Record):
    name: str = required(_HEADER)
    prefix: str = optional(line, "")


@record
class ClaimToHeader(Record):
    header: str = required(_STRICT_HEADER)
    claim: str = required(named)


@record
class JwtRule(Record):
    issuer: str = optional(text, "")
    audiences: tuple[str, ...] = optional(list_of(named), ())
    jwks_uri: str = optional(_url, "")
    jwks: str = optional(_jwks, "")
    from_headers: tuple[JwtHeader, ...] = optional(list_of(obj(JwtHeader)), ())
    from_params: tuple[str, ...] = optional(list_of(named), ())
    from_cookies: tuple[str, ...] = optional(list_of(named), ())
    output_payload_to_header: str = optional(_HEADER, "")
    output_claim_to_headers: tuple[ClaimToHeader, ...] = optional(list_of(obj(ClaimToHeader)), ())
    forward_original_token: bool = optional(boolean, False)
    timeout_s: float = optional(positive_duration, DEFAULT_TIMEOUT_S)
    space_delimited_claims: tuple[str, ...] = optional(list_of(named), ())

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.issuer and not self.jwks_uri:
            yield "", "needs an issuer or a jwksUri"
        if self.jwks and self.jwks_uri:
            yield "jwks", "only one of jwks and jwksUri can be set"


@record
class RequestAuthenticationSpec(Record):
    selector: WorkloadSelector | None = optional(SELECTOR)
    target_ref: TargetRef | None = optional(TARGET_REF)
    target_refs: tuple[TargetRef, ...] = optional(list_of(TARGET_REF), ())
    jwt_rules: tuple[JwtRule, ...] = optional(list_of(obj(JwtRule)), ())

    def check(self) -> Iterator[tuple[str, str]]:
        yield from one_way_of_choosing(self)


@record
class RequestAuthentication(Object):
    API_VERSIONS = SECURITY
    spec: RequestAuthenticationSpec = optional(
        obj(RequestAuthenticationSpec), RequestAuthenticationSpec()
    )
