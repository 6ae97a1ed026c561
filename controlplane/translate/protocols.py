"""Which protocol a Kubernetes service port speaks: Istio's protocol selection.

appProtocol first, then the port name up to the first '-', then well-known TCP ports. What is left
Istio finds out by looking at the first bytes; Weft treats it as HTTP and says so.
"""

from __future__ import annotations

from controlplane.kinds.core import Service, ServicePort
from controlplane.mesh.model import Protocol
from controlplane.translate.report import Report

NAMES: dict[str, Protocol] = {
    "http": "HTTP",
    "http2": "HTTP2",
    "https": "HTTPS",
    "grpc": "GRPC",
    "tcp": "TCP",
    "tls": "TLS",
    "mongo": "MONGO",
    "mysql": "TCP",
    "redis": "TCP",
    "udp": "UDP",
}
_APP_PROTOCOLS: dict[str, Protocol] = {
    **NAMES,
    "kubernetes.io/h2c": "HTTP2",
    "kubernetes.io/ws": "HTTP",
    "kubernetes.io/wss": "HTTPS",
}
_TCP_PORTS = frozenset((25, 53, 3306, 27017, 2181, 5432, 5672, 6379, 9092, 11211))
"""Istio's SMTP, DNS, MySQL, MongoDB. Since Weft does not look at the first bytes also ZooKeeper,
PostgreSQL, AMQP, Redis, Kafka and memcached, which never speak HTTP on these ports."""


def of_port(service: Service, port: ServicePort, report: Report) -> Protocol:
    if port.protocol == "UDP":
        return "UDP"
    if (app := _APP_PROTOCOLS.get(port.app_protocol.lower())) is not None:
        return app
    if (named := of_name(port.name)) is not None:
        return named
    if port.port in _TCP_PORTS:
        return "TCP"
    label = f"the port {port.name or port.port}"
    message = (
        f"{label} does not say its protocol and is treated as HTTP; "
        "set appProtocol, or begin its name with http, grpc, tcp ..."
    )
    report.info(service, port.position, "ProtocolAssumed", message)
    return "HTTP"


def is_assumed(port: ServicePort) -> bool:
    """Whether `of_port` can only guess."""
    said = port.app_protocol.lower() in _APP_PROTOCOLS or of_name(port.name) is not None
    return port.protocol == "TCP" and not said and port.port not in _TCP_PORTS


def of_name(name: str) -> Protocol | None:
    """By the port name: 'grpc-web' is plain HTTP to a proxy, as gRPC-Web is."""
    name = name.lower()
    if name == "grpc-web" or name.startswith("grpc-web-"):
        return "HTTP"
    return NAMES.get(name.split("-", 1)[0])
