"""What a request counts as: the descriptors that rate limits are about (`route.v3.RateLimit`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from protos.frozen import frozen
from proxy.config.model.common import HeaderMatcher, QueryParameterMatcher


@frozen
class Fixed:
    """`generic_key`, or one of the clusters: key and value are known beforehand, except that the
    value '' of `destination_cluster` is the route's cluster."""

    key: str
    value: str
    kind: Literal["generic_key", "source_cluster", "destination_cluster"] = "generic_key"


@frozen
class FromHeader:
    header: str
    key: str
    skip_if_absent: bool


@frozen
class FromQuery:
    parameter: str
    key: str
    skip_if_absent: bool


@frozen
class RemoteAddress:
    """masks: prefix lengths for IPv4 and IPv6; None: the whole address."""

    key: str
    masks: tuple[int, int] | None = None


@frozen
class IfMatch:
    """`header_value_match` and `query_parameter_value_match`: an entry if they (do not) match."""

    key: str
    value: str
    expects: bool
    headers: tuple[HeaderMatcher, ...] = ()
    parameters: tuple[QueryParameterMatcher, ...] = ()


@frozen
class FromMetadata:
    """path: namespace and keys."""

    key: str
    path: tuple[str, ...]
    default: str
    source: Literal["DYNAMIC", "ROUTE_ENTRY"]
    skip_if_absent: bool


Action = Fixed | FromHeader | FromQuery | RemoteAddress | IfMatch | FromMetadata


@frozen
class RateLimit:
    """One descriptor, or none when one of its actions has nothing to say."""

    actions: tuple[Action, ...]
    stage: int = 0
    disable_key: str = ""
    hits_addend: int = 1


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class RouteRateLimits:
    """What a route and its virtual host say a request counts as. includes_host: the host's count
    beside the route's own; else they count only where the route has none."""

    route: tuple[RateLimit, ...]
    host: tuple[RateLimit, ...]
    includes_host: bool
