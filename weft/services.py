"""What the laptop mesh needs of Kubernetes Services: whom they select, and their names in a URL.

Pure: documents in, `Service`s out. Routing is the control plane's; nothing here decides it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from weft.deployment import is_kind
from weft.manifest import Field

# Istio's rule: the port's appProtocol, or the part of its name before a dash. What says neither,
# and is no port of another well-known protocol, the control plane takes for HTTP; so do we.
HTTP_WORDS = frozenset({"http", "http2", "kubernetes.io/h2c", "kubernetes.io/ws"})
OTHER_WORDS = frozenset(
    {"https", "grpc", "tcp", "tls", "mongo", "mysql", "redis", "udp", "kubernetes.io/wss"}
)
OTHER_PORTS = frozenset({25, 53, 2181, 3306, 5432, 5672, 6379, 9092, 11211, 27017})


@dataclass(frozen=True, slots=True)
class Service:
    """ports: (name, number, targetPort as written). http: the first HTTP port, None if none.

    exposed: listed among the URLs (annotation `weft.dev/expose: "false"` takes it off)."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    ports: tuple[tuple[str, int, str], ...]
    http: int | None
    exposed: bool
    position: str

    def selects(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Kubernetes' rule: all of the selector is in the labels; an empty one selects nothing."""
        return (
            namespace == self.namespace
            and bool(self.selector)
            and self.selector.items() <= labels.items()
        )


def services(documents: Iterable[Field]) -> list[Service]:
    """The Services among `documents`, in their order."""
    return [_service(document) for document in documents if is_kind(document, "Service", "v1")]


def _service(document: Field) -> Service:
    metadata, spec = document.get("metadata"), document.get("spec")
    ports = spec.get("ports").items()
    http = next((port for port in ports if _is_http(port)), None)
    return Service(
        name=metadata.get("name").string(),
        namespace=metadata.get("namespace").string("default"),
        selector=spec.get("selector").strings(),
        ports=tuple(_port(port) for port in ports),
        http=None if http is None else http.get("port").integer(0),
        exposed=metadata.get("annotations", "weft.dev/expose").text("true") != "false",
        position=metadata.get("name").position,
    )


def _port(port: Field) -> tuple[str, int, str]:
    number = port.get("port").integer(0)
    return port.get("name").string(""), number, port.get("targetPort").text(str(number))


def _is_http(port: Field) -> bool:
    name = port.get("name").text("").lower()
    words = (port.get("appProtocol").text("").lower(), name.partition("-")[0])
    if port.get("protocol").text("TCP") != "TCP":
        return False
    for word in words:
        if word in HTTP_WORDS:
            return True
        if word in OTHER_WORDS:
            return word == "grpc" and name.startswith("grpc-web")  # plain HTTP to a proxy
    return port.get("port").integer(0) not in OTHER_PORTS


def numbered_ports(selecting: Iterable[Service]) -> dict[str, int]:
    """What Services mean by number is a port also where no container declares it (Kubernetes:
    `ports` of a container is only information): a name for each, and the number."""
    targets = (target for service in selecting for _, _, target in service.ports)
    return {f"port-{target}": int(target) for target in targets if target.isdigit()}


def entry_port(container_port: str, number: int, selecting: Iterable[Service]) -> str:
    """The name of a container's port in its WorkloadEntry. A Service that means it by name finds
    it so; one that means it by number finds it under the name of its own port."""
    for service in selecting:
        for name, _, target in service.ports:
            if target == str(number) and name:
                return name
    return container_port


def host_name(service: Service, among: Iterable[Service]) -> str:
    """The name for a browser, which resolves *.localhost to this machine: `greeter.localhost`, or
    `greeter.shop.localhost` where another namespace has the shorter one."""
    same = [other for other in among if other.name == service.name]
    if service.namespace == "default" or len(same) == 1:
        return f"{service.name}.localhost"
    return f"{service.name}.{service.namespace}.localhost"
