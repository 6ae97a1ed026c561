"""A route configuration into its table: virtual hosts, each with its routes in order."""

from __future__ import annotations

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


def table(config: RouteConfiguration, context: RouteContext) -> Table[RouteEntry]:
    found: Table[RouteEntry] = Table(
        config.ignore_port_in_host_matching,
        config.vhost_header.encode(),
        tuple([name.encode() for name in config.internal_only_headers]),
    )
    for host in config.virtual_hosts:
        found.add(host.domains, _virtual_host(config, host, context))
    return found


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
