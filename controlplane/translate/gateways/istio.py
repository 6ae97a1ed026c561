"""Istio's Gateways with the VirtualServices that name them -> gateways of the neutral mesh.

A server's hosts say which VirtualServices it takes, by host and by their namespace; what several
say of one host is put together, the oldest first. Certificates are Secrets of the namespace where
the gateway's proxies are, so a gateway with proxies in several namespaces becomes several.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from controlplane.kinds.export_to import namespaces_of
from controlplane.kinds.gateway import Gateway, Server, ServerTls
from controlplane.kinds.http_match import MESH
from controlplane.kinds.virtual_service import VirtualService
from controlplane.mesh import gateways as model
from controlplane.mesh.model import HttpRule, StreamRule, Workload
from controlplane.mesh.scopes import Scope
from controlplane.translate import stream_rules
from controlplane.translate.credentials import Credentials, Need
from controlplane.translate.delegates import Delegates
from controlplane.translate.destinations import Destinations
from controlplane.translate.gateways.hosts import ANY, common
from controlplane.translate.http_matches import full_name
from controlplane.translate.index import Hosts
from controlplane.translate.report import Report
from controlplane.translate.rules import RuleMaker

_HTTP = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB")
_SECURED = ("HTTPS", "TLS")
_PASSED_ON = ("PASSTHROUGH", "AUTO_PASSTHROUGH")


GATEWAY_SERVICE = "internal.istio.io/gateway-service"

_Socket = tuple[frozenset[tuple[str, str]], str, str, int]
"""Of which proxies (selector and namespace), and the address and port there."""


class _Bound(NamedTuple):
    """A VirtualService as one gateway sees it."""

    service: VirtualService
    hosts: tuple[str, ...]
    rules: tuple[HttpRule, ...]
    streams: tuple[StreamRule, ...]


class IstioGateways:
    def __init__(
        self,
        gateways: Iterable[Gateway],
        virtual_services: Iterable[VirtualService],
        hosts: Hosts,
        delegates: Delegates,
        credentials: Credentials,
        report: Report,
    ) -> None:
        self._gateways = sorted(gateways, key=_seniority)
        self._hosts = hosts
        self._maker = RuleMaker(hosts, report, delegates)
        self._destinations = Destinations(hosts, report)
        self._credentials = credentials
        self._report = report
        self._families: dict[_Socket, tuple[str, Gateway, Server]] = {}
        self._bound: dict[str, list[VirtualService]] = defaultdict(list)
        for item in virtual_services:
            self._bind(item)

    def _bind(self, item: VirtualService) -> None:
        """A gateway may be named in any way that Istio knows."""
        known = {f"{one.namespace}/{one.name}" for one in self._gateways}
        for index, name in enumerate(item.spec.gateways):
            named = full_name(name, item.namespace)
            if named == MESH:
                continue
            if named in known:
                self._bound[named].append(item)
            else:
                message = f"spec.gateways[{index}]: there is no Gateway {named!r}"
                position = item.spec.at(f"gateways[{index}]")
                self._report.error(item, position, "UnknownGateway", message)

    def made(self, proxies: Sequence[Workload]) -> Iterator[model.Gateway]:
        """proxies: workloads that are gateways."""
        self._families.clear()
        for gateway in self._gateways:
            found = [one for one in proxies if _is_for(gateway, one)]
            if not found:
                message = "spec.selector: no workload has these labels"
                self._report.warning(gateway, gateway.position, "SelectsNothing", message)
            namespaces = sorted({one.namespace for one in found})
            for namespace in namespaces or [""]:
                yield self._made(gateway, namespace)

    def _made(self, gateway: Gateway, namespace: str) -> model.Gateway:
        key = f"{gateway.namespace}/{gateway.name}"
        bound = [self._seen(item, key) for item in self._bound[key] if _shows(item, gateway)]
        self._tell_apart(gateway, key, bound)
        servers = (
            self._server(gateway, server, bound, namespace or gateway.namespace)
            for server in gateway.spec.servers
            if self._fits(gateway, server, namespace)
        )
        return model.Gateway(
            name=f"{gateway.name}.{gateway.namespace}",
            namespace=gateway.namespace,
            scope=Scope(namespace, gateway.spec.selector),
            servers=tuple(server for server in servers if server is not None),
            behind=_behind(gateway),
            position=gateway.position,
        )

    def _tell_apart(self, gateway: Gateway, key: str, bound: Iterable[_Bound]) -> None:
        """VirtualServices that name the gateway, and of which no request there is ever for them."""
        heard = {
            one.service.key
            for one in bound
            for server in gateway.spec.servers
            if any(_in_common(gateway, server, one))
        }
        for item in self._bound[key]:
            for index, name in enumerate(item.spec.gateways):
                if item.key in heard or full_name(name, item.namespace) != key:
                    continue
                why = "none of spec.hosts is one of its servers' hosts"
                if not _shows(item, gateway):
                    why = f"spec.exportTo hides this from its namespace {gateway.namespace!r}"
                message = f"spec.gateways[{index}]: no request comes from {name!r}: {why}"
                position = item.spec.at(f"gateways[{index}]")
                self._report.warning(item, position, "SelectsNothing", message)

    def _seen(self, item: VirtualService, gateway: str) -> _Bound:
        return _Bound(
            item,
            tuple(self._hosts.full_name(host, item.namespace) for host in item.spec.hosts),
            self._maker.rules(item, gateway),
            stream_rules.rules(item, self._destinations, self._report, gateway),
        )

    # ------------------------------------------------------------------ servers

    def _server(
        self, gateway: Gateway, server: Server, bound: list[_Bound], namespace: str
    ) -> model.Server | None:
        """None: it can't be as it is written, which was told."""
        port, settings = server.port, server.tls
        secured = port.protocol in _SECURED
        passes = secured and settings is not None and settings.mode in _PASSED_ON
        by_name = passes and settings is not None and settings.mode == "AUTO_PASSTHROUGH"
        tls = None
        if secured and not passes and settings is not None:
            tls = _tls(settings, namespace)
            if not self._has_credentials(gateway, settings, namespace):
                return None
        http = port.protocol in _HTTP or (port.protocol == "HTTPS" and not passes)
        hosts = tuple(dict.fromkeys(_host_of(host) for host in server.hosts))
        return model.Server(
            name=port.name,
            port=port.number,
            protocol="HTTP" if http else "STREAM",
            hosts=hosts if secured and ANY not in hosts else (),
            bind=server.bind,
            tls=tls,
            passthrough=passes,
            by_name=by_name,
            virtual_hosts=tuple(_virtual_hosts(gateway, server, bound)) if http else (),
            streams=() if http or by_name else tuple(_streams(gateway, server, bound)),
            position=server.position,
        )

    def _fits(self, gateway: Gateway, server: Server, namespace: str) -> bool:
        """A port carries plain HTTP, TLS, or other bytes of one server: the oldest decides."""
        protocol = server.port.protocol
        family = "HTTP" if protocol in _HTTP else "TLS" if protocol in _SECURED else "TCP"
        selector = frozenset(gateway.spec.selector.items())
        socket = (selector, namespace, server.bind, server.port.number)
        mine = (family, gateway, server)
        taken, first, _ = found = self._families.setdefault(socket, mine)
        if found is mine or (taken == family and family != "TCP"):
            return True
        message = f"the port {server.port.number} carries {taken} by {first.key} already"
        self._report.error(gateway, server.position, "Conflict", message)
        return False

    def _has_credentials(self, gateway: Gateway, settings: ServerTls, namespace: str) -> bool:
        wanted: list[tuple[str, str, Need]] = [
            ("credentialName", name, "pair") for name in settings.credentials
        ]
        if settings.ca_cert_credential_name:
            roots = settings.ca_cert_credential_name
            wanted.append(("caCertCredentialName", roots, "roots"))
        elif settings.asks_for_certificates and settings.credentials:
            wanted.append(("credentialName", settings.credentials[0], "roots"))
        for key, name, need in wanted:
            if why_not := self._credentials.why_not(namespace, name, need):
                message = f"tls.{key}: {why_not}; the server stays shut"
                self._report.error(gateway, settings.at(key), "MissingCredential", message)
                return False
        return True


def _seniority(gateway: Gateway) -> tuple[str, str]:
    """As Istio sorts them: the oldest first, of those without an age by name."""
    return gateway.metadata.creation_timestamp, f"{gateway.name}.{gateway.namespace}"


def _behind(gateway: Gateway) -> tuple[str, ...]:
    """Istio's word for the Services, of its own namespace, that stand before a gateway."""
    written = gateway.metadata.annotations.get(GATEWAY_SERVICE, "")
    return tuple(name.strip() for name in written.split(",") if name.strip())


def _is_for(gateway: Gateway, workload: Workload) -> bool:
    return gateway.spec.selector.items() <= workload.labels.items()


def _shows(item: VirtualService, gateway: Gateway) -> bool:
    exported = namespaces_of(item.spec.export_to, item.namespace)
    return exported is None or gateway.namespace in exported


def _host_of(host: str) -> str:
    """Without the namespace that may stand before it."""
    return host.rpartition("/")[2].rstrip(".").lower()


def _takes(gateway: Gateway, host: str, item: VirtualService) -> bool:
    """Whether a server's host is for VirtualServices of a namespace."""
    namespace, slash, _ = host.rpartition("/")
    if not slash or namespace == ANY:
        return True
    return item.namespace == (gateway.namespace if namespace == "." else namespace)


def _in_common(gateway: Gateway, server: Server, bound: _Bound) -> Iterator[str]:
    found = (
        common(_host_of(host), wanted)
        for wanted in bound.hosts
        for host in server.hosts
        if _takes(gateway, host, bound.service)
    )
    yield from dict.fromkeys(host for host in found if host)


def _virtual_hosts(
    gateway: Gateway, server: Server, bound: Iterable[_Bound]
) -> Iterator[model.VirtualHost]:
    """httpsRedirect holds for every host of the server, with rules or without."""
    redirects = server.tls is not None and server.tls.https_redirect
    found: dict[str, tuple[HttpRule, ...]] = {}
    for one in bound:
        for host in _in_common(gateway, server, one) if one.rules else ():
            found[host] = (*found.get(host, ()), *one.rules)
    if redirects:
        for host in map(_host_of, server.hosts):
            found.setdefault(host, ())
    for host, rules in found.items():
        yield model.VirtualHost(f"{host}:{server.port.number}", (host,), rules, redirects)


def _streams(
    gateway: Gateway, server: Server, bound: Iterable[_Bound]
) -> Iterator[model.StreamRoute]:
    """Of TLS that is passed on, rules are by server name; of other bytes any rule takes all."""
    passes = server.tls is not None and server.tls.mode in _PASSED_ON
    number = server.port.number
    for one in bound:
        if not tuple(_in_common(gateway, server, one)):
            continue
        for rule in one.streams:
            for match in rule.matches:
                if match.port in (None, number) and bool(match.server_names) == passes:
                    name = f"{one.service.namespace}.{one.service.name}"
                    names = match.server_names
                    yield model.StreamRoute(names, rule.destinations, name, rule.position)


def _tls(settings: ServerTls, namespace: str) -> model.ServerTls:
    files = tuple((one.server_certificate, one.private_key) for one in settings.tls_certificates)
    if not files and settings.server_certificate:
        files = ((settings.server_certificate, settings.private_key),)
    names = settings.credentials
    roots = settings.ca_cert_credential_name or (names[0] if names else "")
    by_secret = settings.asks_for_certificates and roots
    mode = settings.mode
    assert mode != "PASSTHROUGH" and mode != "AUTO_PASSTHROUGH"
    return model.ServerTls(
        mode=mode,
        credentials=tuple((namespace, name) for name in names),
        files=() if names else files,
        roots=(namespace, roots) if by_secret else None,
        roots_file="" if names else settings.ca_certificates,
        crl_file="" if names else settings.ca_crl,
        subject_alt_names=settings.subject_alt_names,
        spki_hashes=settings.verify_certificate_spki,
        certificate_hashes=settings.verify_certificate_hash,
        minimum=settings.min_protocol_version.replace("TLS_AUTO", ""),
        maximum=settings.max_protocol_version.replace("TLS_AUTO", ""),
        ciphers=settings.cipher_suites,
    )
