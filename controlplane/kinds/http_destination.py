"""Where a VirtualService sends requests, and what it does to their headers on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controlplane.kinds.decoders import (
    HOST,
    PORT,
    integer,
    line,
    list_of,
    map_of,
    optional_label,
    text,
)
from controlplane.kinds.http_match import HEADER_NAME
from controlplane.kinds.schema import Invalid, Place, Record, obj, optional, record, required
from controlplane.kinds.yaml_nodes import Node

_AUTHORITY = (":authority", "host")


def _header_name(node: Node, place: Place) -> str:
    value = text(node, place)
    if not HEADER_NAME.fullmatch(value) or value.lower() == "host":
        raise place.refuse(node, "a header name (Host can not be removed)")
    return value


def _values_of(*pseudo: str) -> Mapping[str, str]:
    """A decoder's default and shape in one: names of headers (and `pseudo` ones) to values."""

    def decode(node: Node, place: Place) -> Mapping[str, str]:
        found = map_of(line)(node, place)
        for name in found:
            if name.lower() in pseudo:
                continue
            if not HEADER_NAME.fullmatch(name) or name.lower() in _AUTHORITY:
                message = f"{name!r} is not the name of a header that can be set here"
                raise Invalid([place.problem(node, message)])
        return found

    return optional(decode, {})


@record
class HeaderOperations(Record):
    """Of a request: its Host (or :authority) may be set, too."""

    set: Mapping[str, str] = _values_of(*_AUTHORITY)
    add: Mapping[str, str] = _values_of(*_AUTHORITY)
    remove: tuple[str, ...] = optional(list_of(_header_name), ())


@record
class ResponseHeaderOperations(Record):
    set: Mapping[str, str] = _values_of()
    add: Mapping[str, str] = _values_of()
    remove: tuple[str, ...] = optional(list_of(_header_name), ())


@record
class Headers(Record):
    request: HeaderOperations = optional(obj(HeaderOperations), HeaderOperations())
    response: ResponseHeaderOperations = optional(
        obj(ResponseHeaderOperations), ResponseHeaderOperations()
    )

    @property
    def hosts(self) -> list[str]:
        """What the request's Host is set to, by either way."""
        both = (*self.request.set.items(), *self.request.add.items())
        return [value for name, value in both if name.lower() in _AUTHORITY]


# --------------------------------------------------------------------------- destinations


@record
class PortSelector(Record):
    number: int = required(PORT)


@record
class Destination(Record):
    host: str = required(HOST)
    subset: str = optional(optional_label, "")
    port: PortSelector | None = optional(obj(PortSelector))

    def check(self) -> Iterator[tuple[str, str]]:
        if "*" in self.host:
            yield "host", "a destination can not be a wildcard"


@record
class RouteDestination(Record):
    """A share of connections (tcp, tls)."""

    destination: Destination = required(obj(Destination))
    weight: int | None = optional(integer(0, 2**31 - 1))


@record
class HttpRouteDestination(RouteDestination):
    headers: Headers = optional(obj(Headers), Headers())


def weight_faults(shares: tuple[RouteDestination, ...]) -> Iterator[tuple[str, str]]:
    """For `check` of a rule with a field `route`."""
    if len(shares) > 1 and not any(item.weight for item in shares):
        yield "route", "the weights are all 0, so no destination gets a request"
    if sum(item.weight or 0 for item in shares) > 2**32 - 1:
        yield "route", "the weights add up to more than 4294967295"
