"""Kubernetes' Ingresses -> one gateway at the ports 80 and 443, of Istio's ingress proxies.

What several Ingresses say of one host is put together: exact paths before prefixes, long before
short, the oldest Ingress first. A default backend takes what is left, at the hosts of its Ingress
and at every other host. A '*' in front of a host stands for exactly one label.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from controlplane.kinds.ingress import (
    CLASS_ANNOTATION,
    DEFAULT_CLASS_ANNOTATION,
    Ingress,
    IngressBackend,
    IngressClass,
    IngressPath,
)
from controlplane.mesh import gateways as model
from controlplane.mesh.conditions import ObjectConditions
from controlplane.mesh.model import Destination, HttpRule, RouteMatch, Service, StringMatch
from controlplane.mesh.scopes import Scope
from controlplane.translate.credentials import Credentials
from controlplane.translate.gateways.addresses import Addresses
from controlplane.translate.gateways.backends import INVALID
from controlplane.translate.gateways.hosts import ANY, covers
from controlplane.translate.gateways.precedence import in_order
from controlplane.translate.index import DOMAIN, age
from controlplane.translate.mesh_defaults import IngressSettings
from controlplane.translate.report import Report

CONTROLLERS = ("weft.dev/ingress-controller", "istio.io/ingress-controller")
CLASS = "weft"
SELECTOR = "istio"
"""The label of Istio's ingress proxies."""

HTTP, HTTPS = 80, 443
_Rules = list[tuple[Ingress, HttpRule]]


class Ingresses:
    def __init__(
        self,
        ingresses: Iterable[Ingress],
        classes: Sequence[IngressClass],
        services: Iterable[Service],
        credentials: Credentials,
        settings: IngressSettings,
        report: Report,
    ) -> None:
        self._services = {one.hostname: one for one in services}
        self._credentials = credentials
        self._report = report
        self._settings = settings
        self._classes = {one.name: one for one in classes}
        self._ours = [one for one in sorted(ingresses, key=age) if self._is_ours(one)]
        self._scope = Scope("", {SELECTOR: settings.selector})

    def _is_ours(self, ingress: Ingress) -> bool:
        """By its class; without one by the default class, or where there are no classes at all."""
        mode = self._settings.mode
        name = ingress.spec.ingress_class_name or ingress.metadata.annotations.get(CLASS_ANNOTATION)
        if mode == "OFF" or (name is None and mode == "STRICT"):
            self._tell_mode(ingress, mode)
            return False
        if name is None:
            if mode == "DEFAULT":
                return True
            defaults = [
                one
                for one in self._classes.values()
                if one.metadata.annotations.get(DEFAULT_CLASS_ANNOTATION) == "true"
            ]
            return any(map(_is_class_ours, defaults)) if self._classes else True
        found = self._classes.get(name)
        ours = (
            _is_class_ours(found)
            if found is not None
            else name in (CLASS, self._settings.own_class)
        )
        if not ours:
            message = f"the class {name!r} is not Weft's, so another controller serves it"
            self._report.info(ingress, ingress.position, "NoEffect", message)
        return ours

    def _tell_mode(self, ingress: Ingress, mode: str) -> None:
        why = "no Ingress is served" if mode == "OFF" else "one without a class is not served"
        message = f"the MeshConfig's ingressControllerMode is {mode}: {why}"
        self._report.info(ingress, ingress.position, "NoEffect", message)

    def made(self) -> tuple[model.Gateway, ...]:
        if not self._ours:
            return ()
        hosts = self._hosts()
        virtual = {host: self._virtual_host(host, rules) for host, rules in hosts.items()}
        plain = model.Server("http", HTTP, "HTTP", virtual_hosts=tuple(virtual.values()))
        servers = (plain, *self._secured(virtual))
        return (model.Gateway("istio-system", "", self._scope, servers),)

    def conditions(self, addresses: Addresses) -> Iterator[ObjectConditions]:
        """Of each Ingress where it is reached."""
        named, found = self._settings.service, tuple[str, ...]()
        if self._ours:
            found = addresses.of_service(named) if named else addresses.of(self._scope)
        for one in self._ours:
            yield ObjectConditions("Ingress", one.namespace, one.name, addresses=found)

    # ------------------------------------------------------------------ hosts

    def _hosts(self) -> dict[str, _Rules]:
        found: dict[str, _Rules] = {}
        for ingress in self._ours:
            for rule in ingress.spec.rules:
                host = rule.host or ANY
                paths = rule.http.paths if rule.http is not None else ()
                mine = [(ingress, self._rule(ingress, host, path)) for path in paths]
                found.setdefault(host, []).extend(mine)
        for ingress in self._ours:
            if (rest := ingress.spec.default_backend) is not None:
                own = {rule.host or ANY for rule in ingress.spec.rules}
                for host in (*sorted(own - {ANY}), ANY):
                    made = self._to(ingress, (RouteMatch(),), rest)
                    found.setdefault(host, []).append((ingress, made))
        return found

    def _virtual_host(self, host: str, rules: _Rules) -> model.VirtualHost:
        return model.VirtualHost(f"{host}:{HTTP}", (host,), in_order(rules))

    def _rule(self, ingress: Ingress, host: str, path: IngressPath) -> HttpRule:
        authority = _one_label(host) if host.startswith("*.") else None
        match = replace(_match(path), authority=authority)
        return replace(self._to(ingress, (match,), path.backend), position=path.position)

    def _to(
        self, ingress: Ingress, matches: tuple[RouteMatch, ...], backend: IngressBackend
    ) -> HttpRule:
        name = f"{ingress.namespace}.{ingress.name}"
        return HttpRule(
            matches, (self._destination(ingress, backend),), name=name, position=backend.position
        )

    def _destination(self, ingress: Ingress, backend: IngressBackend) -> Destination:
        wanted = backend.service
        if wanted is None:
            message = "a resource can not be a backend; its requests get 503"
            self._report.error(ingress, backend.position, "NotSupported", message)
            return Destination(INVALID, port=HTTP, resolved=False, position=backend.position)
        hostname = f"{wanted.name}.{ingress.namespace}.svc.{DOMAIN}"
        service = self._services.get(hostname)
        if service is None:
            message = f"no service named {hostname!r}; requests will get 503"
            self._report.error(ingress, wanted.at("name"), "UnknownService", message)
            number = wanted.port.number or HTTP
            return Destination(hostname, port=number, resolved=False, position=wanted.position)
        for port in service.ports:
            if port.number == wanted.port.number or (port.name and port.name == wanted.port.name):
                return Destination(hostname, port=port.number, position=wanted.at("name"))
        message = f"{hostname!r} has no port {wanted.port.name or wanted.port.number}"
        self._report.error(ingress, wanted.at("port"), "UnknownPort", message)
        return Destination(INVALID, port=HTTP, resolved=False, position=wanted.position)

    # ------------------------------------------------------------------ TLS

    def _secured(self, virtual: dict[str, model.VirtualHost]) -> Iterator[model.Server]:
        for ingress in self._ours:
            for index, tls in enumerate(ingress.spec.tls):
                why_not = self._credentials.why_not(ingress.namespace, tls.secret_name, "pair")
                if why_not:
                    message = f"spec.tls[{index}].secretName: {why_not}; its hosts have no TLS"
                    self._report.error(ingress, tls.position, "MissingCredential", message)
                    continue
                wide = tls.hosts or (ANY,)
                carried = [
                    one for host, one in virtual.items() if any(covers(w, host) for w in wide)
                ]
                if ANY in virtual and virtual[ANY] not in carried:
                    carried.append(virtual[ANY])
                credential = (ingress.namespace, tls.secret_name)
                yield model.Server(
                    _server_name(ingress, index),
                    HTTPS,
                    "HTTP",
                    hosts=tls.hosts,
                    tls=model.ServerTls("SIMPLE", (credential,)),
                    virtual_hosts=tuple(carried),
                    position=tls.position,
                )


def _server_name(ingress: Ingress, index: int) -> str:
    """As Istio names what it makes of an Ingress: a Gateway's port, and the Gateway."""
    name, namespace = ingress.name, ingress.namespace
    made = f"{name}-istio-autogenerated-k8s-ingress-{namespace}"
    return f"https-{HTTPS}-ingress-{name}-{namespace}-{index}.{made}"


def _is_class_ours(one: IngressClass) -> bool:
    return one.spec.controller in CONTROLLERS


def _match(path: IngressPath) -> RouteMatch:
    """A prefix is of whole segments; what is specific to an implementation is a prefix too."""
    if path.path_type == "Exact":
        return RouteMatch(uri=StringMatch("exact", path.path))
    prefix = path.path.rstrip("/")
    if not prefix:
        return RouteMatch()
    return RouteMatch(uri=StringMatch("prefix", prefix), whole_segments=True)


def _one_label(host: str) -> StringMatch:
    rest = re.escape(host.removeprefix("*"))
    return StringMatch("regex", rf"[^.]+{rest}(:[0-9]+)?")
