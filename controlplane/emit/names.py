"""The names that resources have on the wire, which are Istio's."""

from __future__ import annotations

from controlplane.mesh.model import InboundPort

HTTP_PROXY_ROUTES = "http_proxy"
BLOCK_ALL = "block_all"
GATEWAY_ROUTES = "weft_gateway"
UNKNOWN_HOST = "unknown_host"
CERTIFICATE_SECRET = "default"
ROOT_SECRET = "ROOTCA"
ALPN = ("istio", "http/1.1")
"""Between sidecars: Istio's word first, then what is spoken inside."""


def outbound_cluster(hostname: str, port: int, subset: str = "") -> str:
    return f"outbound|{port}|{subset}|{hostname}"


def outbound_sni(hostname: str, port: int, subset: str = "") -> str:
    return f"outbound_.{port}_.{subset or '_'}_.{hostname}"


def inbound_cluster(port: InboundPort) -> str:
    return f"inbound|{port.app_port}||"


def listener(address: str, port: int) -> str:
    """`127.0.0.1_15080`; an IPv6 address keeps its colons, as in Istio."""
    return f"{address}_{port}"


def virtual_host(hostname: str, port: int) -> str:
    return f"{hostname}:{port}"


def trust_domain_prefix(trust_domain: str) -> str:
    return f"spiffe://{trust_domain}/"
