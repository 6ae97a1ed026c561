"""The Envoy v3 bootstrap of a workload's sidecar: who it is, and where its control plane is.

Pure: facts in, plain data out. Everything else (listeners, routes, clusters, endpoints, the trust
bundle) comes over ADS. The certificate for the ADS connection itself is SDS `default`, which a Weft
proxy answers from its own identity; an Envoy has no such agent inside and can't use this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from weft.locality import NOWHERE, Locality, place_of

CONTROL_PLANE_NAME = "weft-controlplane.weft-system.svc"
LOOPBACK = "127.0.0.1"
LOCAL_CLUSTER = "local_cluster"
SELF_DISCOVERY = "ENABLE_SELF_DISCOVERY"
"""Of the metadata, Istio's words: `ISTIO_META_ENABLE_SELF_DISCOVERY` of a ProxyConfig."""


@dataclass(frozen=True, slots=True)
class Node:
    """A workload as the control plane knows it. `app`: for its cluster name (--service-cluster).

    http_proxy_port: where the application reaches every service by name, None for none.
    agent: it stands beside a program that is in the mesh by itself (gRPC's own xDS), so that it
    takes and sends no traffic of its own.
    gateway: "127.0.0.1:8080" for the proxy that serves browsers and curl.
    locality: where it stands.
    said, runtime, variables: what users say of its metadata, its bootstrap and its environment."""

    workload: str
    namespace: str
    service_account: str
    labels: Mapping[str, str]
    app: str
    http_proxy_port: int | None = None
    gateway: str = ""
    agent: bool = False
    locality: Locality = NOWHERE
    said: Mapping[str, Any] = field(default_factory=dict)
    runtime: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Istio's form: type, address, workload.namespace, DNS domain."""
        domain = f"{self.namespace}.svc.cluster.local"
        kind = "agent" if self.agent else "sidecar"
        return f"{kind}~{LOOPBACK}~{self.workload}.{self.namespace}~{domain}"

    def metadata(self) -> dict[str, Any]:
        """Istio's words; WEFT_AGENT: the proxy makes its own key and answers SDS `default`.
        WEFT_ON_DEMAND: it holds the services that it calls; a gateway's routes name everything."""
        metadata: dict[str, Any] = {
            **self.said,
            "WORKLOAD_NAME": self.workload,
            "NAMESPACE": self.namespace,
            "SERVICE_ACCOUNT": self.service_account,
            "LABELS": dict(self.labels),
            "INTERCEPTION_MODE": "NONE",
            "WEFT_AGENT": "true",
        }
        if self.http_proxy_port is not None:
            metadata["HTTP_PROXY_PORT"] = str(self.http_proxy_port)
        if self.gateway:
            metadata["WEFT_GATEWAY"] = self.gateway
        else:
            metadata["WEFT_ON_DEMAND"] = "true"
        return metadata


def bootstrap(
    node: Node,
    *,
    xds_port: int,
    admin_port: int,
    root_file: str,
    xds_host: str = LOOPBACK,
    listeners: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The bootstrap as plain data. xds_host, xds_port: where the control plane takes mutual TLS.
    listeners: those that come from no control plane."""
    over_ads = {"ads": {}, "resource_api_version": "V3"}
    runtime = {**_RUNTIME, **node.runtime}
    own = [_local_cluster()] if node.said.get(SELF_DISCOVERY) == "true" else []
    return {
        "node": {
            "id": node.id,
            "cluster": f"{node.app}.{node.namespace}",
            "metadata": node.metadata(),
            **({"locality": place_of(node.locality)} if any(node.locality) else {}),
        },
        "admin": {"address": _address(admin_port)},
        **({"cluster_manager": {"local_cluster_name": LOCAL_CLUSTER}} if own else {}),
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "lds_config": over_ads,
            "cds_config": over_ads,
        },
        "static_resources": {
            "clusters": [_xds_cluster(xds_host, xds_port, root_file), *own],
            "listeners": list(listeners),
        },
        "layered_runtime": {"layers": [{"name": "global config", "static_layer": runtime}]},
    }


# As Istio's bootstrap: policies that name service accounts are longer than Envoy's default allows.
_RUNTIME = {"re2.max_program_size.error_level": 32768}


def _local_cluster() -> dict[str, Any]:
    """The workloads of its own service, by whose zones a proxy knows how much of its own zone is
    for itself (Envoy's zone aware routing)."""
    return {
        "name": LOCAL_CLUSTER,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
    }


def _xds_cluster(host: str, port: int, root_file: str) -> dict[str, Any]:
    options = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    endpoint = {"endpoint": {"address": _address(port, host)}}
    return {
        "name": "xds",
        "type": "STATIC" if _is_ip(host) else "STRICT_DNS",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": options,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [endpoint]}]},
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": _xds_tls(root_file),
        },
    }


def _xds_tls(root_file: str) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    name = {"san_type": "DNS", "matcher": {"exact": CONTROL_PLANE_NAME}}
    return {
        "@type": kind,
        "sni": CONTROL_PLANE_NAME,
        "common_tls_context": {
            # The proxy's own certificate; its agent answers this SDS name.
            "tls_certificate_sds_secret_configs": [
                {"name": "default", "sds_config": {"ads": {}, "resource_api_version": "V3"}}
            ],
            "validation_context": {
                "trusted_ca": {"filename": root_file},
                "match_typed_subject_alt_names": [name],
            },
        },
    }


def _address(port: int, host: str = LOOPBACK) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
