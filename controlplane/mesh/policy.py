"""Who may do what, in the neutral mesh: rules of access, tokens that count, whom to ask.

A rule is a sum of products, as in Istio and Envoy: it applies when one of its sources, one of its
operations and all of its conditions hold; each of these when all of its clauses do. A clause wants
one fact (`Attribute`) to be one of its values and none of its not_values. Every part keeps the
words and the position of the text that made it, for explanations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from controlplane.mesh.position import NOWHERE, Position
from controlplane.mesh.scopes import Scope, ScopeIndex
from controlplane.mesh.tls_limits import NO_LIMITS, TlsLimits
from protos.frozen import frozen

Action = Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"]
Normalization = Literal["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]
"""How a path is cleaned before policies and routes look at it, in Istio's words."""

Attribute = Literal[
    "identity",
    "source_ip",
    "remote_ip",
    "destination_ip",
    "destination_port",
    "sni",
    "host",
    "method",
    "path",
    "header",
    "token",
    "claim",
    "metadata",
]
"""identity: the peer's SPIFFE URI. source_ip: of the connection, remote_ip: as far as proxies in
front are trusted. token: a claim that is a string; claim: a string, or a list that has one."""

HTTP_ATTRIBUTES: frozenset[Attribute] = frozenset(
    ("host", "method", "path", "header", "token", "claim")
)
PRINCIPAL_ATTRIBUTES: frozenset[Attribute] = frozenset(
    ("identity", "source_ip", "remote_ip", "header", "token", "claim")
)
"""What Envoy asks of a principal; the rest are permissions."""


@frozen
class Match:
    """present: any value that is not empty ('header': that it is there). regex: RE2, the whole
    value. item: one of a list (of a header's comma-separated values) is like `inner`. template:
    Envoy's URI template. port: a decimal number."""

    kind: Literal[
        "exact", "prefix", "suffix", "regex", "present", "cidr", "port", "template", "item"
    ]
    value: str = ""
    ignore_case: bool = False
    inner: Match | None = None


@frozen
class Fact:
    """One fact: `key` is the header's name, the path of a claim, or (filter, key) of metadata."""

    attribute: Attribute
    match: Match
    key: tuple[str, ...] = ()


@frozen
class Value:
    """As written, and what it means: all of `facts` hold."""

    text: str
    facts: tuple[Fact, ...]


@frozen
class Clause:
    """name: the word in the policy's text ('principals', 'request.headers[x-a]')."""

    name: str
    attribute: Attribute
    values: tuple[Value, ...] = ()
    not_values: tuple[Value, ...] = ()
    position: Position = NOWHERE

    @property
    def http_only(self) -> bool:
        return self.attribute in HTTP_ATTRIBUTES


@frozen
class Rule:
    """No sources: anybody; no operations: anything."""

    index: int
    sources: tuple[tuple[Clause, ...], ...] = ()
    operations: tuple[tuple[Clause, ...], ...] = ()
    conditions: tuple[Clause, ...] = ()
    position: Position = NOWHERE


@frozen
class AccessPolicy:
    """provider: the name of whom CUSTOM asks. dry_run: tried, never enforced."""

    namespace: str
    name: str
    action: Action
    rules: tuple[Rule, ...] = ()
    scope: Scope = field(default_factory=Scope)
    provider: str = ""
    dry_run: bool = False
    position: Position = NOWHERE

    def rule_name(self, index: int) -> str:
        """Istio's form, by which logs and statistics know a rule."""
        return f"ns[{self.namespace}]-policy[{self.name}]-rule[{index}]"


# --------------------------------------------------------------------------- tokens


@frozen
class TokenRule:
    """A JWT of one issuer. jwks: the keys themselves; else they are fetched from jwks_uri, from
    `jwks_service` (host and port of the mesh) or, where that is None, straight from the host.
    discovers: they are looked up by the issuer's name (OpenID discovery). name: by which logs know
    it."""

    issuer: str
    name: str = ""
    audiences: tuple[str, ...] = ()
    jwks: str = ""
    jwks_uri: str = ""
    discovers: bool = False
    jwks_service: tuple[str, int] | None = None
    timeout_s: float = 5.0
    from_headers: tuple[tuple[str, str], ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    payload_header: str = ""
    claim_headers: tuple[tuple[str, str], ...] = ()
    forward: bool = False
    space_delimited_claims: tuple[str, ...] = ()
    position: Position = NOWHERE


@frozen
class TokenPolicy:
    namespace: str
    name: str
    rules: tuple[TokenRule, ...] = ()
    scope: Scope = field(default_factory=Scope)
    position: Position = NOWHERE


# --------------------------------------------------------------------------- who is asked


@frozen
class BodyLimit:
    max_bytes: int
    partial: bool = False
    as_bytes: bool = False


@frozen
class Authorizer:
    """A service that CUSTOM policies or rules ask: Envoy's ext_authz. Header lists are names, with
    a '*' in front or behind; upstream_headers may be '*' alone, which is all that say nothing of
    the answer itself. fault: why it can't be asked, then what it should decide is refused."""

    name: str
    protocol: Literal["http", "grpc"]
    host: str = ""
    port: int = 0
    timeout_s: float = 600.0
    fail_open: bool = False
    status_on_error: int | None = None
    body: BodyLimit | None = None
    path_prefix: str = ""
    clear_route_cache: bool = False
    request_headers: tuple[str, ...] = ()
    additional_headers: Mapping[str, str] = field(default_factory=dict)
    upstream_headers: tuple[str, ...] = ()
    denied_headers: tuple[str, ...] = ()
    allowed_headers: tuple[str, ...] = ()
    fault: str = ""


@frozen
class Security:
    """Everything of the mesh that decides about access. Policies are sorted oldest first;
    access_of and tokens_of find those of a workload. mutual_tls: what of mutual TLS
    between workloads is refused."""

    access: tuple[AccessPolicy, ...] = ()
    tokens: tuple[TokenPolicy, ...] = ()
    authorizers: tuple[Authorizer, ...] = ()
    trust_domain_aliases: tuple[str, ...] = ()
    denial_details: bool = False
    normalization: Normalization = "BASE"
    mutual_tls: TlsLimits = NO_LIMITS
    access_of: ScopeIndex[AccessPolicy] = field(init=False, repr=False, compare=False)
    tokens_of: ScopeIndex[TokenPolicy] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "access_of", ScopeIndex(self.access))
        object.__setattr__(self, "tokens_of", ScopeIndex(self.tokens))
