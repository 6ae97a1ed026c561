"""Istio's VirtualService: rules for what is sent to hosts, over HTTP, TLS and TCP.

One without hosts is a delegate: its HTTP rules count where another one's rule delegates to it.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.kinds.attributes import ROUTING_CLAIMS
from controlplane.kinds.decoders import HOST, list_of, text
from controlplane.kinds.export_to import export_faults
from controlplane.kinds.http_match import GATEWAYS, MESH
from controlplane.kinds.http_rule import HttpRoute
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Place, Record, obj, optional, record, required
from controlplane.kinds.service_entry import NETWORKING
from controlplane.kinds.stream_rule import TcpRoute, TlsRoute
from controlplane.kinds.yaml_nodes import Node
from controlplane.mesh.ip import is_ip


def _host(node: Node, place: Place) -> str:
    value = text(node, place)
    return value if is_ip(value) else HOST(node, place)


def _asks_for_claims(route: HttpRoute) -> bool:
    names = (name for match in route.match for name in (*match.headers, *match.without_headers))
    return any(name.startswith(ROUTING_CLAIMS) for name in names)


def covers(host: str, other: str) -> bool:
    """Whether every name that `other` stands for is one of `host`'s ('*.b' covers 'a.b')."""
    return host == other or (host.startswith("*") and other.endswith(host[1:]))


@record
class VirtualServiceSpec(Record):
    hosts: tuple[str, ...] = optional(list_of(_host), ())
    gateways: tuple[str, ...] = optional(GATEWAYS, ())
    http: tuple[HttpRoute, ...] = optional(list_of(obj(HttpRoute)), ())
    tls: tuple[TlsRoute, ...] = optional(list_of(obj(TlsRoute)), ())
    tcp: tuple[TcpRoute, ...] = optional(list_of(obj(TcpRoute)), ())
    export_to: tuple[str, ...] = optional(list_of(text), ())

    @property
    def is_delegate(self) -> bool:
        return not self.hosts

    def check(self) -> Iterator[tuple[str, str]]:
        yield from export_faults(self.export_to)
        if not (self.http or self.tls or self.tcp):
            yield "http", "needs at least one rule (http, tls or tcp)"
        yield from self._delegate_faults() if self.is_delegate else self._host_faults()
        if not set(self.gateways) - {MESH} and any(map(_asks_for_claims, self.http)):
            yield "gateways", "claims (@request.auth.claims) choose a route at gateways only"
        for index, route in enumerate(self.tls):
            for match in route.match:
                for host in match.sni_hosts:
                    if not any(covers(own, host) for own in self.hosts):
                        yield f"tls[{index}]", f"the SNI host {host!r} is none of spec.hosts"

    def _delegate_faults(self) -> Iterator[tuple[str, str]]:
        for key in ("gateways", "tls", "tcp"):
            if getattr(self, key):
                yield key, "must not be set in a delegate (spec.hosts is empty)"
        for index, route in enumerate(self.http):
            if route.delegate is not None:
                yield f"http[{index}]", "a delegate can not delegate"
            for _, fault in route.regex_faults():
                yield f"http[{index}]", fault

    def _host_faults(self) -> Iterator[tuple[str, str]]:
        """Istio: no host may cover another one of the same VirtualService."""
        for index, host in enumerate(self.hosts):
            for other in self.hosts[:index]:
                if covers(host, other) or covers(other, host):
                    yield f"hosts[{index}]", f"{host!r} and {other!r} have names in common"
            if host == "*" and (not self.gateways or MESH in self.gateways):
                yield f"hosts[{index}]", "'*' alone is only for gateways, not for the mesh"


@record
class VirtualService(Object):
    API_VERSIONS = NETWORKING
    spec: VirtualServiceSpec = required(obj(VirtualServiceSpec))
