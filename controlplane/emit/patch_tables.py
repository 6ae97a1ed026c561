"""EnvoyFilter's patches of tables of routes, with their virtual hosts and routes."""

from __future__ import annotations

from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from controlplane.emit.names import HTTP_PROXY_ROUTES
from controlplane.emit.patch_values import change, merge_if_asked
from controlplane.mesh.patches import EnvoyPatch, PatchMatch

ROUTES = frozenset(("ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE"))


def in_table(table: RouteConfiguration, patch: EnvoyPatch) -> None:
    match = patch.match
    if not _is_table(table.name, match):
        return
    if patch.apply_to == "ROUTE_CONFIGURATION":
        merge_if_asked(table, patch)
        return
    port = match.port if table.name == HTTP_PROXY_ROUTES else 0
    if patch.apply_to == "VIRTUAL_HOST":
        change(table.virtual_hosts, patch, lambda one: _is_host(one, match, port))
        _keep_domains_apart(table)
        return
    for host in table.virtual_hosts:
        if _is_host(host, match, port):
            change(host.routes, patch, lambda one: _is_route(one, match))


def _keep_domains_apart(table: RouteConfiguration) -> None:
    """Who has a domain first keeps it: a table that gives it to two is refused as a whole, with the
    routes of everybody else. A host that is left without one goes."""
    seen: set[str] = set()
    for host in tuple(table.virtual_hosts):
        own = [one for one in dict.fromkeys(host.domains) if one.lower() not in seen]
        seen.update(one.lower() for one in own)
        if len(own) != len(host.domains):
            host.domains[:] = own
    for index in reversed(range(len(table.virtual_hosts))):
        if not table.virtual_hosts[index].domains:
            del table.virtual_hosts[index]


def _is_table(name: str, match: PatchMatch) -> bool:
    """The port stands in the names of tables, but for the outbound proxy's, which has a virtual
    host for each port of a service."""
    if match.route_configuration not in ("", name):
        return False
    port, server, gateway = _named_in(name)
    if match.port not in (0, port) and name != HTTP_PROXY_ROUTES:
        return False
    return match.server in ("", server) and match.gateway in ("", gateway)


def _named_in(name: str) -> tuple[int, str, str]:
    """Port, a gateway's server and 'namespace/gateway', of Istio's names of tables:
    inbound|8080|| and 8080 and http.8080 and https.443.SERVER.GATEWAY.NAMESPACE."""
    direction, _, rest = name.partition("|")
    if direction == "inbound":
        return _number(rest.partition("|")[0]), "", ""
    kind, *parts = name.split(".")
    if kind == "https" and len(parts) >= 4:
        return _number(parts[0]), parts[1], f"{parts[3]}/{parts[2]}"
    return _number(parts[0]) if kind == "http" and parts else _number(name), "", ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


def _is_host(host: VirtualHost, match: PatchMatch, port: int) -> bool:
    """port: of the service, 0 for any."""
    named = match.virtual_host in ("", host.name)
    meant = not port or host.name.endswith(f":{port}")
    return named and meant and (not match.domain or match.domain in host.domains)


def _is_route(route: Route, match: PatchMatch) -> bool:
    action = (route.WhichOneof("action") or "").upper()
    return match.route in ("", route.name) and match.route_action in ("ANY", action)
