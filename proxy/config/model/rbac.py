"""Who may do what: the rules of role-based access control (`config.rbac.v3`).

Permissions and principals are one kind of tree here: both are questions about a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from proxy.config.model.common import CidrRange, HeaderMatcher, StringMatcher
from proxy.config.model.metadata import MetadataMatcher

AddressOf = Literal["destination", "source", "direct_remote", "remote"]


@dataclass(frozen=True, slots=True)
class Any_:
    """Always."""


@dataclass(frozen=True, slots=True)
class All:
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class OneOf:
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Not:
    rule: Rule


@dataclass(frozen=True, slots=True)
class Header:
    matcher: HeaderMatcher


@dataclass(frozen=True, slots=True)
class UrlPath:
    """The path without query and fragment."""

    matcher: StringMatcher


@dataclass(frozen=True, slots=True)
class UriTemplate:
    """The path without its query, by Envoy's URI templates."""

    template: str


@dataclass(frozen=True, slots=True)
class Address:
    of: AddressOf
    cidr: CidrRange


@dataclass(frozen=True, slots=True)
class DestinationPort:
    """start <= port < end."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A certificate was shown; with a matcher, one of its names matches."""

    name: StringMatcher | None


@dataclass(frozen=True, slots=True)
class ServerName:
    matcher: StringMatcher


@dataclass(frozen=True, slots=True)
class Metadata:
    source: Literal["DYNAMIC", "ROUTE"]
    matcher: MetadataMatcher


@dataclass(frozen=True, slots=True)
class FilterState:
    """A value that a filter left behind: as text, or as an address in one of the ranges."""

    key: str
    string: StringMatcher | None
    ranges: tuple[CidrRange, ...] = ()


Rule = (
    Any_ | All | OneOf | Not | Header | UrlPath | UriTemplate | Address | DestinationPort
    | Authenticated | ServerName | Metadata | FilterState
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Policy:
    """Applies when one of the permissions and one of the principals do."""

    name: str
    permissions: tuple[Rule, ...]
    principals: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the control plane says of its policies. tells: the client hears which one denied it.
    sources: where each stands, by its name. none: what to say where no policy applied."""

    tells: bool = False
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)
    none: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """`RBAC`: policies in the order of their names."""

    action: Literal["ALLOW", "DENY", "LOG"]
    policies: tuple[Policy, ...]
    explanation: Explanation = Explanation()


@dataclass(frozen=True, slots=True)
class NetworkRbac:
    """Of connections. delay_deny_s: how long one that is denied is kept waiting."""

    stat_prefix: str
    rules: Rules | None = None
    shadow_rules: Rules | None = None
    shadow_stat_prefix: str = ""
    delay_deny_s: float = 0.0
