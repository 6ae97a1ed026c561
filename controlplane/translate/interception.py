"""Sidecars and the MeshConfig -> what holds for sidecars that intercept connections.

Istio's precedence: a Sidecar with a workloadSelector, then its namespace's, then the one of the
root namespace; of several on one level the oldest. The one that is in force holds whole: what it
does not say is the mesh's, and not another Sidecar's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from controlplane.kinds import sidecar as kinds
from controlplane.kinds.mesh_config import MeshConfigMap
from controlplane.kinds.service_entry import UNIX
from controlplane.mesh.gateways import ServerTls
from controlplane.mesh.imports import Import
from controlplane.mesh.interception import Egress, Ingress, Interception, OutboundPolicy, Sidecar
from controlplane.mesh.model import Destination, Protocol
from controlplane.mesh.scopes import Scope
from controlplane.mesh.tls_limits import TlsLimits
from controlplane.translate.destinations import Destinations
from controlplane.translate.imports import first_of_each, names_of, scope_of
from controlplane.translate.index import Hosts
from controlplane.translate.report import Report
from controlplane.translate.services import ENTRY_PROTOCOLS
from controlplane.translate.traffic_policy import pool_of

_BOUND = {"DEFAULT": None, "IPTABLES": False, "NONE": True}
_EVERYWHERE = Import(Scope(), (("*", "*"),))
_ENDED: dict[str, Protocol] = {"HTTPS": "HTTP", "TLS": "TCP"}
"""What is spoken inside of TLS."""


def of_mesh(configs: Iterable[MeshConfigMap]) -> Interception:
    found = next(iter(configs), None)
    if found is None:
        return Interception()
    mesh = found.data.mesh
    return Interception(
        OutboundPolicy(mesh.outbound_traffic_policy.mode),
        mesh.proxy_listen_port,
        mesh.proxy_inbound_listen_port,
        mesh.protocol_detection_timeout_s,
        mesh.inbound_traffic_policy.mode == "LOCALHOST",
        mesh.inbound_cluster_stat_name,
        mesh.proxy_http_port,
        mesh.default_config.proxy_headers.preserve_http1_header_case,
    )


def of_sidecars(
    sidecars: Sequence[kinds.Sidecar], hosts: Hosts, limits: TlsLimits, report: Report
) -> tuple[Sidecar, ...]:
    """The most specific first. limits: of TLS that a Sidecar ends itself."""
    _tell(sidecars, report)
    finder = Destinations(hosts, report)
    return tuple(_sidecar(one, finder, limits) for one in first_of_each(sidecars))


def _sidecar(item: kinds.Sidecar, finder: Destinations, limits: TlsLimits) -> Sidecar:
    spec, policy = item.spec, item.spec.outbound_traffic_policy
    outbound = None
    if policy is not None:
        proxy: Destination | None = None
        if policy.egress_proxy is not None:
            where = "spec.outboundTrafficPolicy.egressProxy"
            proxy = finder.find(item, where, policy.egress_proxy)
        outbound = OutboundPolicy(policy.mode, proxy)
    return Sidecar(
        scope_of(item),
        tuple(_egress(one, item) for one in spec.egress) or (Egress(_EVERYWHERE),),
        tuple(map(partial(_ingress, limits), spec.ingress)),
        outbound,
        pool_of(spec.inbound_connection_pool),
        item.position,
    )


def _egress(egress: kinds.Egress, item: kinds.Sidecar) -> Egress:
    hosts, excluded = names_of(egress.hosts, item.namespace)
    port = egress.port
    word = port.protocol.upper() if port is not None else ""
    return Egress(
        Import(scope_of(item), hosts, excluded, egress.position),
        port.number if port is not None else None,
        _protocol(word),
        word == "HTTP_PROXY",
        egress.bind,
        True if egress.bind.startswith(UNIX) else _BOUND[egress.capture_mode],
    )


def _protocol(word: str) -> Protocol | None:
    """None: not said."""
    return ENTRY_PROTOCOLS[word.replace("HTTP1", "HTTP")] if word else None


def _ingress(limits: TlsLimits, ingress: kinds.Ingress) -> Ingress:
    protocol = _protocol(ingress.port.protocol.upper())
    settings = ingress.tls if ingress.tls and ingress.tls.mode != "PASSTHROUGH" else None
    if settings is not None and protocol is not None:
        protocol = _ENDED.get(protocol, protocol)
    return Ingress(
        ingress.port.number,
        protocol,
        ingress.port.name,
        ingress.bind,
        _BOUND[ingress.capture_mode],
        _app(ingress.default_endpoint, ingress.port.number),
        _tls(settings, limits) if settings is not None else None,
        pool_of(ingress.connection_pool),
    )


def _app(endpoint: str, port: int) -> tuple[str, int]:
    """0.0.0.0 (and nothing) is the workload's own address: where the connection was going, if it
    goes on to the same port."""
    if endpoint.startswith(UNIX):
        return endpoint, 0
    host, _, number = endpoint.rpartition(":")
    host = host.strip("[]")
    if host in ("", "0.0.0.0", "::"):
        same = not number or int(number) == port
        return ("", port) if same else ("0.0.0.0", int(number))
    return host, int(number)


def _tls(settings: kinds.IngressTls, limits: TlsLimits) -> ServerTls:
    """limits: of the mesh, where nothing is said."""
    mode = settings.mode if settings.mode != "PASSTHROUGH" else "SIMPLE"
    least = settings.min_protocol_version.replace("TLS_AUTO", "")
    most = settings.max_protocol_version.replace("TLS_AUTO", "")
    return ServerTls(
        mode,
        files=settings.files,
        roots_file=settings.ca_certificates,
        crl_file=settings.ca_crl,
        subject_alt_names=settings.subject_alt_names,
        spki_hashes=settings.verify_certificate_spki,
        certificate_hashes=settings.verify_certificate_hash,
        minimum=least or ("TLSV1_3" if limits.only_tls13 and not most else ""),
        maximum=most,
        ciphers=settings.cipher_suites or limits.ciphers,
        curves=limits.curves,
    )


def _tell(sidecars: Iterable[kinds.Sidecar], report: Report) -> None:
    """What has an effect only where connections are intercepted."""
    for sidecar in sidecars:
        for key, instead in _only_intercepted(sidecar):
            message = f"spec.{key}: sidecars that do not intercept connections {instead}"
            report.info(sidecar, sidecar.spec.at(key), "NoEffect", message)


def _only_intercepted(sidecar: kinds.Sidecar) -> Iterator[tuple[str, str]]:
    spec = sidecar.spec
    if spec.ingress:
        yield "ingress", "listen where services and WorkloadEntries say"
    if spec.inbound_connection_pool is not None:
        yield "inboundConnectionPool", "do not limit inbound connections"
    policy = spec.outbound_traffic_policy
    if policy is not None and policy.mode != "REGISTRY_ONLY":
        yield "outboundTrafficPolicy", "refuse hosts that are not known"
    for index, item in enumerate(spec.egress):
        if item.port is not None or item.bind or item.capture_mode != "DEFAULT":
            yield f"egress[{index}]", "know its hosts at every port"
