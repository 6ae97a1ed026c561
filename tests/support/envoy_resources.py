"""Resources as a control plane makes them, small, for the tests of the xDS client."""

from __future__ import annotations

import json
from pathlib import Path

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from google.protobuf import json_format

_NEEDED = (router_pb2, tls_pb2)
EXTENSIONS = "type.googleapis.com/envoy.extensions."
ADS = {"ads": {}, "resource_api_version": "V3"}


def cluster(name: str, **fields: object) -> cluster_pb2.Cluster:
    """An EDS cluster."""
    plain = {"name": name, "type": "EDS", "eds_cluster_config": {"eds_config": ADS}, **fields}
    return json_format.ParseDict(plain, cluster_pb2.Cluster())


def tls_cluster(name: str, secret: str) -> cluster_pb2.Cluster:
    """An EDS cluster whose trust bundle comes as a secret."""
    context = {
        "@type": EXTENSIONS + "transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": ADS}],
            "validation_context_sds_secret_config": {"name": secret, "sds_config": ADS},
        },
    }
    socket = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return cluster(name, transport_socket=socket)


def endpoints(name: str, *ports: int) -> endpoint_pb2.ClusterLoadAssignment:
    address = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": p}}}}
        for p in ports
    ]
    plain = {"cluster_name": name, "endpoints": [{"lb_endpoints": address}]}
    return json_format.ParseDict(plain, endpoint_pb2.ClusterLoadAssignment())


def listener(name: str, routes: str, port: int = 0) -> listener_pb2.Listener:
    """A listener whose routes come over RDS."""
    hcm = json_format.ParseDict(
        {
            "stat_prefix": name,
            "rds": {"route_config_name": routes, "config_source": ADS},
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": EXTENSIONS + "filters.http.router.v3.Router"},
                }
            ],
        },
        hcm_pb2.HttpConnectionManager(),
    )
    message = listener_pb2.Listener(name=name)
    message.address.socket_address.address = "127.0.0.1"
    message.address.socket_address.port_value = port
    message.filter_chains.add().filters.add(name="hcm").typed_config.Pack(hcm)
    return message


def routes(name: str, target: str) -> route_pb2.RouteConfiguration:
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": target}}],
    }
    plain = {"name": name, "virtual_hosts": [host]}
    return json_format.ParseDict(plain, route_pb2.RouteConfiguration())


def trust_bundle(name: str, pem: str) -> secret_pb2.Secret:
    message = secret_pb2.Secret(name=name)
    message.validation_context.trusted_ca.inline_string = pem
    return message


def bootstrap_file(
    folder: Path, port: int, *, delta: bool = True, tls: object = None, metadata: object = ()
) -> Path:
    """A bootstrap whose control plane is 127.0.0.1:port."""
    xds = {
        "name": "xds",
        "type": "STATIC",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": json.loads(json_format.MessageToJson(endpoints("xds", port))),
    }
    if tls is not None:
        xds["transport_socket"] = tls
    service = {"envoy_grpc": {"cluster_name": "xds"}, "initial_metadata": list(metadata)}  # type: ignore[call-overload]
    plain = {
        "node": {"id": "sidecar~127.0.0.1~a.default~default.svc.cluster.local", "cluster": "a"},
        "static_resources": {"clusters": [xds]},
        "dynamic_resources": {
            "lds_config": ADS,
            "cds_config": ADS,
            "ads_config": {
                "api_type": "DELTA_GRPC" if delta else "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [service],
                "set_node_on_first_message_only": True,
            },
        },
    }
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(plain))
    return path
