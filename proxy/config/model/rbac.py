"""Who may do what: the rules of role-based access control (`config.rbac.v3`).

Permissions and principals are one kind of tree here: both are questions about a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from protos.frozen import frozen
from proxy.config.model.common import CidrRange, HeaderMatcher, StringMatcher
from proxy.config.model.metadata import MetadataMatcher

AddressOf = Literal["destination", "source", "direct_remote", "remote"]


@frozen
class Any_:
    """Always."""


@frozen
class All:
    rules: tuple[Rule, ...]


@frozen
class OneOf:
    rules: tuple[Rule, ...]


@frozen
class Not:
    rule: Rule


@frozen
class Header:
    matcher: HeaderMatcher


@frozen
class UrlPath:
    """The path without query and fragment."""

    matcher: StringMatcher


@frozen
class HeaderText:
    """All values of a header as one, joined by commas; one that is not there never matches."""

    name: str
    matcher: StringMatcher


@frozen
class PortText:
    """A port, as text."""

    of: Literal["source", "destination"]
    matcher: StringMatcher


@frozen
class UriTemplate:
    """The path without its query, by Envoy's URI templates."""

    template: str


@frozen
class Address:
    of: AddressOf
    cidr: CidrRange


@frozen
class DestinationPort:
    """start <= port < end."""

    start: int
    end: int


@frozen
class Authenticated:
    """A certificate was shown; with a matcher, one of its names matches."""

    name: StringMatcher | None


@frozen
class ServerName:
    matcher: StringMatcher


@frozen
class Metadata:
    source: Literal["DYNAMIC", "ROUTE"]
    matcher: MetadataMatcher


@frozen
class FilterState:
    """A value that a filter left behind: as text, or as an address in one of the ranges."""

    key: str
    string: StringMatcher | None
    ranges: tuple[CidrRange, ...] = ()


Rule = (
    Any_ | All | OneOf | Not | Header | HeaderText | PortText | UrlPath | UriTemplate | Address
    | DestinationPort | Authenticated | ServerName | Metadata | FilterState
)  # fmt: skip


@frozen
class Policy:
    """Applies when one of the permissions and one of the principals do."""

    name: str
    permissions: tuple[Rule, ...]
    principals: tuple[Rule, ...]


@frozen
class Explanation:
    """What the control plane says of its policies. tells: the client hears which one denied it.
    sources: where each stands, by its name. none: what to say where no policy applied."""

    tells: bool = False
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)
    none: str = ""


@frozen
class Rules:
    """`RBAC`: policies in the order of their names."""

    action: Literal["ALLOW", "DENY", "LOG"]
    policies: tuple[Policy, ...]
    explanation: Explanation = Explanation()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(policy.name for policy in self.policies)


@frozen
class Decision:
    """name: what the log calls it."""

    name: str
    action: Literal["ALLOW", "DENY", "LOG"]


@frozen
class Decisions:
    """The matcher API: the first rule that applies decides. otherwise None: it is denied."""

    rules: tuple[tuple[Rule, Decision], ...]
    otherwise: Decision | None = None
    explanation: Explanation = Explanation()

    @property
    def action(self) -> str:
        """As of `Rules`; every rule has its own."""
        return "MATCHER"

    @property
    def names(self) -> tuple[str, ...]:
        found = [decision.name for _, decision in self.rules]
        return tuple(found if self.otherwise is None else [*found, self.otherwise.name])


AnyRules = Rules | Decisions


@frozen
class NetworkRbac:
    """Of connections. delay_deny_s: how long one that is denied is kept waiting."""

    stat_prefix: str
    rules: AnyRules | None = None
    shadow_rules: AnyRules | None = None
    shadow_stat_prefix: str = ""
    delay_deny_s: float = 0.0
