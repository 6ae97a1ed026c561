"""Valid listeners with the routes that they took -> servers of the neutral mesh.

A request belongs to the listener whose host name is closest to its own, and to no other one:
hosts that a closer listener of the port has are left out, and have at least an answer there. Over
TLS the server name has chosen the listener; for what belongs to another one that is 421.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeVar

from controlplane.kinds.gateway_api.grpc_route import GRPCRoute
from controlplane.kinds.gateway_api.http_route import HTTPRoute
from controlplane.mesh.gateways import Server, VirtualHost
from controlplane.mesh.model import DirectResponse, HttpRule, RouteMatch
from controlplane.translate.gateways.attach import Attachment
from controlplane.translate.gateways.backends import Backends
from controlplane.translate.gateways.hosts import ANY, closeness, covers
from controlplane.translate.gateways.http_rules import Entrance
from controlplane.translate.gateways.listeners import State
from controlplane.translate.gateways.precedence import in_order
from controlplane.translate.gateways.route_rules import RulesOf
from controlplane.translate.gateways.streams import L4Route, at_listener

MISDIRECTED = 421
_HTTP = ("HTTP", "HTTPS")
HttpRouteOrGrpc = HTTPRoute | GRPCRoute
R = TypeVar("R")


class Servers:
    """Makes the servers of one gateway's listeners."""

    def __init__(
        self,
        states: Sequence[State],
        http: Iterable[tuple[HttpRouteOrGrpc, Attachment]],
        streams: Iterable[tuple[L4Route, Attachment]],
        backends: Backends,
        rules_of: RulesOf,
    ) -> None:
        self._states = [state for state in states if state.is_programmed]
        self._http = _by_listener(http)
        self._streams = _by_listener(streams)
        self._backends = backends
        self._rules_of = rules_of

    def made(self) -> tuple[Server, ...]:
        return tuple(map(self._server, self._states))

    def _server(self, state: State) -> Server:
        listener = state.listener
        carries_http = listener.protocol in _HTTP
        return Server(
            name=listener.name,
            port=listener.port,
            protocol="HTTP" if carries_http else "STREAM",
            hosts=(listener.hostname,) if listener.hostname else (),
            tls=state.tls,
            passthrough=state.mode == "Passthrough",
            virtual_hosts=tuple(self._virtual_hosts(state)) if carries_http else (),
            streams=tuple(at_listener(self._streams[id(state)], self._backends)),
            position=listener.position,
        )

    # ------------------------------------------------------------------ HTTP

    def _virtual_hosts(self, state: State) -> Iterator[VirtualHost]:
        listener = state.listener
        beside = [one for one in self._beside(state) if one is not state]
        found: dict[str, list[tuple[HttpRouteOrGrpc, HttpRule]]] = {listener.hostname or ANY: []}
        scheme: Literal["http", "https"] = "https" if listener.protocol == "HTTPS" else "http"
        entrance = Entrance(listener.port, scheme)
        for route, attachment in self._http[id(state)]:
            rules = self._rules_of(route, entrance).rules
            for host in attachment.hosts:
                if not _belongs_to_another(host, state, beside):
                    found.setdefault(host, []).extend((route, rule) for rule in rules)
        for host, rules_of_host in found.items():
            yield _virtual_host(host, listener.port, in_order(rules_of_host))
        for other in beside if scheme == "https" else ():
            host = other.listener.hostname or ANY
            if host not in found:
                yield _virtual_host(host, listener.port, (_misdirected(),))

    def _beside(self, state: State) -> list[State]:
        """Those that share its port and carry HTTP too."""
        return [
            one
            for one in self._states
            if one.listener.port == state.listener.port and one.listener.protocol in _HTTP
        ]


def _by_listener(
    found: Iterable[tuple[R, Attachment]],
) -> defaultdict[int, list[tuple[R, Attachment]]]:
    sorted_out: defaultdict[int, list[tuple[R, Attachment]]] = defaultdict(list)
    for route, attachment in found:
        sorted_out[id(attachment.state)].append((route, attachment))
    return sorted_out


def _belongs_to_another(host: str, state: State, beside: Iterable[State]) -> bool:
    own = closeness(state.listener.hostname or ANY)
    return any(
        covers(name, host) and closeness(name) > own
        for name in (one.listener.hostname or ANY for one in beside)
    )


def _virtual_host(host: str, port: int, rules: tuple[HttpRule, ...]) -> VirtualHost:
    return VirtualHost(f"{host}:{port}", (host,), rules)


def _misdirected() -> HttpRule:
    """RFC 9110, 15.5.20: the connection was made for another server."""
    answer = DirectResponse(MISDIRECTED)
    return HttpRule((RouteMatch(),), direct_response=answer, name="misdirected")
