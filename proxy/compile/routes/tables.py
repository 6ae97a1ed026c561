"""A route configuration into its table: virtual hosts, each with its routes in order.

A virtual host that did not change is not compiled again, and a table that has only got more of them
(as they are fetched) is not made anew.
"""

from __future__ import annotations

from dataclasses import replace

from proxy.compile.routes.answers import to_https
from proxy.compile.routes.entries import route_entry
from proxy.compile.routes.place import Place, RouteContext
from proxy.compile.routes.virtual_clusters import virtual_clusters
from proxy.config.model import Route, RouteConfiguration, VirtualHost
from proxy.http.message import Request
from proxy.l7.entry import RouteEntry
from proxy.route.first_match import Candidate, first_match
from proxy.route.matching import Seen, route_matches
from proxy.route.table import Find, Table
from proxy.route.tree import find_in_tree


class CompiledTable:
    """The table of `routes`. last: of the same name and context, from which is taken what is as it
    was."""

    def __init__(
        self, routes: RouteConfiguration, context: RouteContext, last: CompiledTable | None = None
    ) -> None:
        self.routes = self._rest = routes
        self._context = context
        self._hosts: dict[str, tuple[VirtualHost, Find[RouteEntry]]] = {}
        self.table: Table[RouteEntry] = Table(
            routes.ignore_port_in_host_matching,
            routes.vhost_header.encode(),
            tuple([name.encode() for name in routes.internal_only_headers]),
        )
        known: dict[str, tuple[VirtualHost, Find[RouteEntry]]] = {}
        if last is not None and _without_hosts(last.routes) == _without_hosts(routes):
            # What is said to filters is to be the same objects: they count by those.
            self._rest, self._context, known = last._rest, last._context, last._hosts
        for host in routes.virtual_hosts:
            self.table.add(host.domains, self._find(host, known))

    def follow(self, routes: RouteConfiguration) -> bool:
        """Is it that of `routes`, perhaps after it has got more virtual hosts?"""
        before, after = self.routes.virtual_hosts, routes.virtual_hosts
        if after[: len(before)] != before or _without_hosts(routes) != _without_hosts(self.routes):
            return False
        for host in after[len(before) :]:
            self.table.add(host.domains, self._find(host, {}))
        self.routes = routes
        return True

    def _find(
        self, host: VirtualHost, known: dict[str, tuple[VirtualHost, Find[RouteEntry]]]
    ) -> Find[RouteEntry]:
        last = known.get(host.name)
        if last is None or last[0] != host:
            last = (host, _virtual_host(self._rest, host, self._context))
        self._hosts[host.name] = last
        return last[1]


def _without_hosts(routes: RouteConfiguration) -> RouteConfiguration:
    return replace(routes, virtual_hosts=())


def _virtual_host(
    config: RouteConfiguration, host: VirtualHost, context: RouteContext
) -> Find[RouteEntry]:
    ignores = config.ignore_path_parameters
    counted = virtual_clusters(host, context.stats)

    def find_in(routes: tuple[Route, ...]) -> Find[RouteEntry]:
        return first_match(
            [
                Candidate(
                    route.match,
                    route_matches(route.match, context.random, context.runtime, ignores),
                    route_entry(Place(config, host, route, context), counted),
                )
                for route in routes
            ],
            ignores,
        )

    tree = host.matcher
    find = find_in(host.routes) if tree is None else find_in_tree(tree, find_in)
    if host.require_tls == "NONE":
        return find
    return _only_https(find, to_https(host.name), host.require_tls == "EXTERNAL_ONLY")


def _only_https(
    find: Find[RouteEntry], redirect: RouteEntry, lets_internal: bool
) -> Find[RouteEntry]:
    """`require_tls`: plaintext is sent to the same place by https, whatever the routes are."""

    def found(request: Request, stream: Seen) -> RouteEntry | None:
        if request.scheme == b"https":
            return find(request, stream)
        if lets_internal and request.headers.get(b"x-envoy-internal") == b"true":
            return find(request, stream)
        return redirect

    return found
