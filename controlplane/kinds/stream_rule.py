"""Rules of a VirtualService for bytes: `tcp` by place and source, `tls` by server name as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controlplane.kinds.decoders import (
    HOST,
    LABELS,
    PORT,
    ip_range,
    list_of,
    optional_label,
)
from controlplane.kinds.http_destination import RouteDestination, weight_faults
from controlplane.kinds.http_match import GATEWAYS
from controlplane.kinds.schema import Record, obj, optional, record, required


@record
class L4Match(Record):
    destination_subnets: tuple[str, ...] = optional(list_of(ip_range), ())
    port: int | None = optional(PORT)
    source_labels: Mapping[str, str] = optional(LABELS, {})
    source_namespace: str = optional(optional_label, "")
    gateways: tuple[str, ...] = optional(GATEWAYS, ())


@record
class TcpMatch(L4Match):
    source_subnet: str = optional(ip_range, "")


@record
class TlsMatch(L4Match):
    sni_hosts: tuple[str, ...] = required(list_of(HOST, 1))


@record
class TcpRoute(Record):
    match: tuple[TcpMatch, ...] = optional(list_of(obj(TcpMatch)), ())
    route: tuple[RouteDestination, ...] = required(list_of(obj(RouteDestination), 1))

    def check(self) -> Iterator[tuple[str, str]]:
        yield from weight_faults(self.route)


@record
class TlsRoute(Record):
    match: tuple[TlsMatch, ...] = required(list_of(obj(TlsMatch), 1))
    route: tuple[RouteDestination, ...] = required(list_of(obj(RouteDestination), 1))

    def check(self) -> Iterator[tuple[str, str]]:
        yield from weight_faults(self.route)
