"""How a DestinationRule spreads requests over endpoints: LoadBalancerSettings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.kinds.decoders import (
    boolean,
    duration,
    enum,
    integer,
    line,
    list_of,
    map_of,
    number,
    positive_duration,
    text,
)
from controlplane.kinds.http_match import HEADER_NAME
from controlplane.kinds.schema import (
    Invalid,
    Place,
    Record,
    obj,
    optional,
    record,
    required,
)
from controlplane.kinds.yaml_nodes import Node

Algorithm = Literal[
    "UNSPECIFIED", "LEAST_CONN", "RANDOM", "ROUND_ROBIN", "LEAST_REQUEST", "PASSTHROUGH"
]

MAX_TABLE_SIZE = 5_000_011
"""Envoy's limit of a Maglev table; the size must be a prime number."""

_RING_SIZE = integer(0, 8 * 1024 * 1024)

# --------------------------------------------------------------------------- consistent hash


def _field_name(node: Node, place: Place) -> str:
    value = text(node, place)
    if not HEADER_NAME.fullmatch(value):
        raise place.refuse(node, "a header name")
    return value


@record
class CookieAttribute(Record):
    name: str = required(line)
    value: str = optional(line, "")


@record
class HttpCookie(Record):
    """ttl 0: until the browser ends; None: no cookie is made where a request has none."""

    name: str = required(line)
    path: str = optional(line, "")
    ttl_s: float | None = optional(duration)
    attributes: tuple[CookieAttribute, ...] = optional(list_of(obj(CookieAttribute)), ())

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.name:
            yield "name", "must not be empty"


@record
class RingHash(Record):
    minimum_ring_size: int | None = optional(_RING_SIZE)


def _is_prime(value: int) -> bool:
    return value > 1 and all(value % factor for factor in range(2, int(value**0.5) + 1))


def _table_size(node: Node, place: Place) -> int:
    value = integer(1, MAX_TABLE_SIZE - 1)(node, place)
    if not _is_prime(value):
        raise place.refuse(node, "a prime number")
    return value


@record
class Maglev(Record):
    table_size: int | None = optional(_table_size)


@record
class ConsistentHash(Record):
    """By one key of the request; minimum_ring_size is the older word for ringHash's."""

    http_header_name: str = optional(_field_name, "")
    http_cookie: HttpCookie | None = optional(obj(HttpCookie))
    use_source_ip: bool = optional(boolean, False)
    http_query_parameter_name: str = optional(line, "")
    ring_hash: RingHash | None = optional(obj(RingHash))
    maglev: Maglev | None = optional(obj(Maglev))
    minimum_ring_size: int | None = optional(_RING_SIZE)

    def check(self) -> Iterator[tuple[str, str]]:
        keys = {
            "httpHeaderName": bool(self.http_header_name),
            "httpCookie": self.http_cookie is not None,
            "useSourceIp": self.use_source_ip,
            "httpQueryParameterName": bool(self.http_query_parameter_name),
        }
        given = [key for key, there in keys.items() if there]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            yield "", f"expected one of {', '.join(keys)}, got {found}"
        algorithms = {
            "ringHash": self.ring_hash is not None,
            "maglev": self.maglev is not None,
            "minimumRingSize": bool(self.minimum_ring_size),
        }
        chosen = [key for key, there in algorithms.items() if there]
        if len(chosen) > 1:
            yield chosen[1], f"only one of {', '.join(algorithms)}"


# --------------------------------------------------------------------------- localities


def locality(node: Node, place: Place) -> str:
    """'region', 'region/zone' or 'region/zone/subzone'; the last part may be '*'."""
    value = text(node, place)
    parts = value.split("/")
    if not all(parts) or len(parts) > 3 or "*" in parts[:-1]:
        raise place.refuse(node, "a locality, region/zone/subzone, whose last part may be '*'")
    return value


def _shares(node: Node, place: Place) -> Mapping[str, int]:
    """Locality -> percent; they add up to 100."""
    found = map_of(integer(1, 100))(node, place)
    for name in found:
        parts = name.split("/")
        if not all(parts) or len(parts) > 3 or "*" in parts[:-1]:
            raise Invalid([place.problem(node, f"{name!r} is not a locality")])
    if sum(found.values()) != 100:
        raise Invalid([place.problem(node, f"the shares add up to {sum(found.values())}, not 100")])
    return found


@record
class Distribute(Record):
    from_: str = required(locality, key="from")
    to: Mapping[str, int] = required(_shares)


def _region(node: Node, place: Place) -> str:
    value = text(node, place)
    if not value or "/" in value or "*" in value:
        raise place.refuse(node, "a region (no '/', no '*')")
    return value


@record
class Failover(Record):
    from_: str = required(_region, key="from")
    to: str = required(_region)

    def check(self) -> Iterator[tuple[str, str]]:
        if self.from_ == self.to:
            yield "to", "must be another region than from"


@record
class LocalitySetting(Record):
    distribute: tuple[Distribute, ...] = optional(list_of(obj(Distribute)), ())
    failover: tuple[Failover, ...] = optional(list_of(obj(Failover)), ())
    failover_priority: tuple[str, ...] = optional(list_of(text), ())
    enabled: bool | None = optional(boolean)

    def check(self) -> Iterator[tuple[str, str]]:
        """failoverPriority may stand beside failover only where it looks at no locality (Istio)."""
        if self.distribute and self.failover:
            yield "failover", "and distribute exclude each other"
        if self.distribute and self.failover_priority:
            yield "failoverPriority", "and distribute exclude each other"
        names_region = any(item.startswith("topology.") for item in self.failover_priority)
        if self.failover and self.failover_priority and names_region:
            yield "failoverPriority", "names localities, which failover already orders"
        sources = [item.from_ for item in self.distribute]
        for index, source in enumerate(sources):
            for other in sources[:index]:
                if _overlap(source, other):
                    yield f"distribute[{index}]", f"from {source!r} and {other!r} overlap"


@record
class ZoneAwareSetting(Record):
    """Endpoints of the client's zone as far as they suffice for it, then those of its region."""

    enabled: bool | None = optional(boolean)
    min_cluster_size: int | None = optional(integer(1, 2**32 - 1))
    failover: tuple[Failover, ...] = optional(list_of(obj(Failover)), ())
    failover_priority: tuple[str, ...] = optional(list_of(text), ())

    def check(self) -> Iterator[tuple[str, str]]:
        if self.failover and self.failover_priority:
            yield "failoverPriority", "and failover exclude each other"


def _overlap(first: str, second: str) -> bool:
    """One is the other or lies in it."""
    short, long = sorted((first.removesuffix("/*"), second.removesuffix("/*")), key=len)
    return short == "*" or long == short or long.startswith(f"{short}/")


# --------------------------------------------------------------------------- warm-up


@record
class Warmup(Record):
    duration_s: float = required(positive_duration)
    minimum_percent: float | None = optional(number(0, 100))
    aggression: float | None = optional(number(1, 1e6))


@record
class LoadBalancer(Record):
    """LEAST_CONN is Istio's old name of LEAST_REQUEST."""

    simple: Algorithm = optional(
        enum("UNSPECIFIED", "LEAST_CONN", "RANDOM", "ROUND_ROBIN", "LEAST_REQUEST", "PASSTHROUGH"),
        "UNSPECIFIED",
    )
    consistent_hash: ConsistentHash | None = optional(obj(ConsistentHash))
    locality_lb_setting: LocalitySetting | None = optional(obj(LocalitySetting))
    zone_aware_lb_setting: ZoneAwareSetting | None = optional(obj(ZoneAwareSetting))
    warmup: Warmup | None = optional(obj(Warmup))
    warmup_duration_secs_s: float | None = optional(positive_duration)

    def check(self) -> Iterator[tuple[str, str]]:
        if self.zone_aware_lb_setting is not None and self.locality_lb_setting is not None:
            yield "zoneAwareLbSetting", "and localityLbSetting exclude each other"
        if self.consistent_hash is not None and "simple" in self.where:
            yield "consistentHash", "and simple exclude each other"
        if self.warmup is not None and self.warmup_duration_secs_s is not None:
            yield "warmupDurationSecs", "is the older word for warmup; use one"
