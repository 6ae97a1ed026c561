"""What a filter demands of JSON Web Tokens (`jwt_authn.v3`): who issues them, and which it wants.

Keys are bytes as they came: who parses them must have what parses keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from protos.frozen import frozen
from proxy.config.model.common import StringMatcher
from proxy.config.model.routes import RouteMatch
from proxy.config.model.services import HttpUri
from proxy.http.inquiry import NEVER, Repeats


@frozen
class RemoteJwks:
    """ahead: it is fetched before anybody needs it. waits: and requests wait for the first one.
    again_s: how long after a failure it is tried again."""

    uri: HttpUri
    cache_s: float = 600.0
    ahead: bool = False
    again_s: float = 1.0
    repeats: Repeats = NEVER


@frozen
class JwtProvider:
    """issuer '' takes any, audiences () too. Where it is looked for, () everywhere means Envoy's
    defaults: `authorization: Bearer` and the parameter `access_token`. from_headers: name and what
    stands before the token. local_jwks None: `remote` has the keys. cache_size 0: no cache."""

    name: str
    issuer: str = ""
    audiences: tuple[str, ...] = ()
    subjects: StringMatcher | None = None
    require_expiration: bool = False
    max_lifetime_s: float | None = None
    local_jwks: bytes | None = field(default=None, repr=False)
    remote: RemoteJwks | None = None
    forward: bool = False
    from_headers: tuple[tuple[str, str], ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    forward_payload_header: str = ""
    pad_forward_payload_header: bool = False
    payload_in_metadata: str = ""
    space_delimited_claims: tuple[str, ...] = ()
    header_in_metadata: str = ""
    failed_status_in_metadata: str = ""
    clock_skew_s: int = 60
    cache_size: int = 0
    max_token_bytes: int = 4096
    claim_to_headers: tuple[tuple[str, str], ...] = ()
    clear_route_cache: bool = False


@frozen
class FromProvider:
    """A token of this provider. audiences: in place of the provider's, None leaves them."""

    name: str
    audiences: tuple[str, ...] | None = None


@frozen
class AnyOf:
    requirements: tuple[Requirement, ...]


@frozen
class AllOf:
    requirements: tuple[Requirement, ...]


@frozen
class AllowMissing:
    """No token, or good ones."""


@frozen
class AllowMissingOrFailed:
    """Whatever there is; tokens are looked at for what they leave behind."""


Requirement = FromProvider | AnyOf | AllOf | AllowMissing | AllowMissingOrFailed


@frozen
class RequirementRule:
    """needs None: nothing."""

    match: RouteMatch
    needs: Requirement | None


@frozen
class FilterStateRule:
    """By the text under `key` of the filter state."""

    key: str
    needs: Mapping[str, Requirement] = field(default_factory=dict, hash=False)


@frozen
class JwtAuthnConfig:
    """named: requirements that rules and routes call by name."""

    providers: tuple[JwtProvider, ...] = ()
    rules: tuple[RequirementRule, ...] = ()
    by_filter_state: FilterStateRule | None = None
    named: Mapping[str, Requirement] = field(default_factory=dict, hash=False)
    bypass_cors_preflight: bool = False
    strip_failure_response: bool = False
    stat_prefix: str = ""


@frozen
class JwtAuthnPerRoute:
    """Of a route: off, or a requirement by its name."""

    disabled: bool = False
    requirement_name: str = ""
