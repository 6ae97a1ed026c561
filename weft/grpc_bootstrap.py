"""What gRPC's own xDS is told by GRPC_XDS_BOOTSTRAP (gRFC A27, A29, A36): JSON, and the folder that
stands behind it.

A program asks its agent, a proxy beside it, over a Unix socket in a folder of its own; the agent
has the identity, speaks mutual TLS to the control plane and keeps certificate files young. So every
language's gRPC can do it, also one that knows no TLS to its control plane. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft.locality import NOWHERE, Locality, place_of

PROVIDER = "default"
"""Istio's name of the provider of certificates, by which the control plane means it."""

SERVER_TEMPLATE = "grpc/server?xds.resource.listening_address=%s"
REFRESH = "1s"
"""How often gRPC looks at the files: within the time over which proxies spread renewals, so that
who is to verify a new certificate knows its roots."""

KEY_FILE, CHAIN_FILE, ROOTS_FILE = "key.pem", "cert-chain.pem", "root-cert.pem"
"""As `weft proxy --output-certs` writes them: the chain last."""

VARIABLE = "GRPC_XDS_BOOTSTRAP"
LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path (sun_path of Linux)."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of one workload (0700)."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "grpc.json"

    @property
    def socket(self) -> Path:
        return self.folder / "xds.sock"

    @property
    def certificates(self) -> Path:
        return self.folder / "certs"

    def provided(self) -> bool:
        """Whether the agent listens and has written its certificates."""
        return self.socket.exists() and (self.certificates / CHAIN_FILE).exists()


@dataclass(frozen=True, slots=True)
class GrpcNode:
    """Who asks: as the control plane knows the workload."""

    workload: str
    namespace: str
    service_account: str
    labels: Mapping[str, str]
    locality: Locality = NOWHERE

    def content(self) -> dict[str, Any]:
        domain = f"{self.namespace}.svc.cluster.local"
        return {
            "id": f"proxyless~127.0.0.1~{self.workload}.{self.namespace}~{domain}",
            "locality": place_of(self.locality),  # gRPC's JavaScript takes no node without one
            "metadata": {
                "WORKLOAD_NAME": self.workload,
                "NAMESPACE": self.namespace,
                "SERVICE_ACCOUNT": self.service_account,
                "LABELS": dict(self.labels),
                "GENERATOR": "grpc",
            },
        }


def grpc_bootstrap(
    node: GrpcNode, server_uri: str, certificates: Path, *, mutual_tls: bool = False
) -> dict[str, Any]:
    """server_uri: unix:PATH of the agent, or with mutual_tls HOST:PORT of the control plane itself
    (not every language's gRPC can do that)."""
    files = {
        "certificate_file": str(certificates / CHAIN_FILE),
        "private_key_file": str(certificates / KEY_FILE),
        "ca_certificate_file": str(certificates / ROOTS_FILE),
        "refresh_interval": REFRESH,
    }
    credentials = {"type": "tls", "config": files} if mutual_tls else {"type": "insecure"}
    return {
        "xds_servers": [
            {
                "server_uri": server_uri,
                "channel_creds": [credentials],
                "server_features": ["xds_v3"],
            }
        ],
        "node": node.content(),
        "certificate_providers": {PROVIDER: {"plugin_name": "file_watcher", "config": files}},
        "server_listener_resource_name_template": SERVER_TEMPLATE,
    }


def relay(socket: Path) -> dict[str, Any]:
    """A listener for the agent's bootstrap: what comes over the socket goes on to the cluster
    `xds`, as whoever the agent is. Streams live for as long as either side wants."""
    kind = "type.googleapis.com/envoy.extensions.filters"
    router = {"@type": f"{kind}.http.router.v3.Router"}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "xds", "timeout": "0s"}}
    manager = {
        "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "grpc_xds",
        "codec_type": "HTTP2",
        "stream_idle_timeout": "0s",
        "route_config": {
            "name": "grpc_xds",
            "virtual_hosts": [{"name": "xds", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    name = "envoy.filters.network.http_connection_manager"
    return {
        "name": "grpc_xds",
        "address": {"pipe": {"path": str(socket)}},
        "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
    }
