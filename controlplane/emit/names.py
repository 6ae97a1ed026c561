"""The names that resources have on the wire, which are Istio's."""

from __future__ import annotations

from controlplane.mesh.model import InboundPort, Protocol

HTTP_PROXY_ROUTES = "http_proxy"
BLOCK_ALL = "block_all"
GATEWAY_ROUTES = "weft_gateway"
UNKNOWN_HOST = "unknown_host"
CERTIFICATE_SECRET = "default"
ROOT_SECRET = "ROOTCA"
ISSUER_SECRET = "weft.dev/issuer"
REHEARSAL_SECRET = "weft.dev/rehearsal"
REVOKED_SECRET = "weft.dev/revoked"
MESH_PROTOCOLS = ("istio-peer-exchange", "istio", "istio-http/1.0", "istio-http/1.1", "istio-h2")
"""By which TLS between sidecars is known (ALPN, Istio's)."""

HTTP2: tuple[Protocol, ...] = ("HTTP2", "GRPC")
HTTP: tuple[Protocol, ...] = ("HTTP", *HTTP2)


def outbound_cluster(hostname: str, port: int, subset: str = "") -> str:
    return f"outbound|{port}|{subset}|{hostname}"


def hostname_of(cluster: str) -> str:
    """Of the service that an outbound cluster leads to."""
    return cluster.rpartition("|")[2]


def outbound_sni(hostname: str, port: int, subset: str = "") -> str:
    """Istio's, also without a subset: outbound_.80_._.web.default.svc.cluster.local."""
    return f"outbound_.{port}_.{subset}_.{hostname}"


def inbound_cluster(port: InboundPort) -> str:
    return f"inbound|{port.app_port}||"


def listener(address: str, port: int) -> str:
    """`127.0.0.1_15080`; an IPv6 address keeps its colons, as in Istio."""
    return f"{address}_{port}"


def virtual_host(hostname: str, port: int) -> str:
    return f"{hostname}:{port}"


def trust_domain_prefix(trust_domain: str) -> str:
    return f"spiffe://{trust_domain}/"


def client_alpn(protocol: Protocol) -> tuple[str, ...]:
    """What a sidecar offers: Istio's word first, then what it speaks inside."""
    if protocol not in HTTP:
        return ("istio",)
    return ("istio", "h2") if protocol in HTTP2 else ("istio", "http/1.1")


def outside_alpn(protocol: Protocol) -> tuple[str, ...]:
    """What a client of a server outside of the mesh offers: what it will speak."""
    if protocol not in HTTP:
        return ()
    return ("h2",) if protocol in HTTP2 else ("http/1.1",)


def server_alpn(protocol: Protocol) -> tuple[str, ...]:
    """What a sidecar takes, in its order: HTTP/2 wherever it is offered, since Envoy takes `istio`
    for HTTP/1.1."""
    if protocol not in HTTP:
        return ("istio",)
    return ("h2", "istio", "http/1.1")


def plain_routes(port: int, bind: str) -> str:
    """Of what comes to a gateway's port in plain text (Istio's name)."""
    return f"http.{port}.{bind}" if bind else f"http.{port}"


def secured_routes(port: int, server: str, gateway: str) -> str:
    """Of one server that ends TLS; `gateway` is NAME.NAMESPACE (Istio's name)."""
    return f"https.{port}.{server}.{gateway}"
