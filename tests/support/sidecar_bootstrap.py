"""The bootstrap of a plain Envoy that stands in for a sidecar: ADS over TLS with a token."""

from __future__ import annotations

from typing import Any

from tests.support.control_plane import SERVER_NAME

_TYPES = "type.googleapis.com/envoy.extensions"


def sidecar_bootstrap(
    port: int,
    root_pem: bytes,
    token: str,
    *,
    workload: str,
    service_account: str,
    http_proxy_port: int = 0,
    delta: bool = True,
    metadata: dict[str, Any] | None = None,
) -> dict[str, Any]:
    over_ads = {"ads": {}, "resource_api_version": "V3"}
    words: dict[str, Any] = {
        "WORKLOAD_NAME": workload,
        "NAMESPACE": "default",
        "SERVICE_ACCOUNT": service_account,
        "LABELS": {"app": workload},
        "INTERCEPTION_MODE": "NONE",
        **({"HTTP_PROXY_PORT": str(http_proxy_port)} if http_proxy_port else {}),
        **(metadata or {}),
    }
    ads = {
        "api_type": "DELTA_GRPC" if delta else "GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [
            {
                "envoy_grpc": {"cluster_name": "xds", "authority": SERVER_NAME},
                "initial_metadata": [{"key": "authorization", "value": f"Bearer {token}"}],
            }
        ],
    }
    node_id = f"sidecar~127.0.0.1~{workload}.default~default.svc.cluster.local"
    return {
        "node": {"id": node_id, "cluster": f"{workload}.default", "metadata": words},
        "dynamic_resources": {
            "ads_config": ads,
            "lds_config": over_ads,
            "cds_config": over_ads,
        },
        "static_resources": {"clusters": [_xds_cluster(port, root_pem)]},
    }


def _xds_cluster(port: int, root_pem: bytes) -> dict[str, Any]:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    san = {"san_type": "DNS", "matcher": {"exact": SERVER_NAME}}
    validation = {
        "trusted_ca": {"inline_string": root_pem.decode()},
        "match_typed_subject_alt_names": [san],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": "xds",
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_TYPES}.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": SERVER_NAME,
                "common_tls_context": {"validation_context": validation},
            },
        },
        "load_assignment": {
            "cluster_name": "xds",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
