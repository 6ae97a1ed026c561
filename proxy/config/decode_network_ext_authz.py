"""Decodes `envoy.filters.network.ext_authz`."""

from __future__ import annotations

from envoy.extensions.filters.network.ext_authz.v3 import ext_authz_pb2
from google.protobuf import any_pb2

from proxy.config.decode_common import unpack
from proxy.config.decode_metadata import metadata_matcher
from proxy.config.decode_services import grpc_service
from proxy.config.model.ext_authz import NetworkExtAuthz
from proxy.config.rejected import Rejected

V2 = 1


def decode(packed: any_pb2.Any, path: str) -> NetworkExtAuthz:
    message = unpack(ext_authz_pb2.ExtAuthz, packed, path)
    if message.transport_api_version == V2:
        raise Rejected(f"{path}.transport_api_version", "version 2 is no longer in use")
    if not message.HasField("grpc_service"):
        raise Rejected(f"{path}.grpc_service", "is required")
    where = f"{path}.filter_enabled_metadata"
    return NetworkExtAuthz(
        message.stat_prefix,
        grpc_service(message.grpc_service, f"{path}.grpc_service"),
        message.failure_mode_allow,
        message.include_peer_certificate,
        message.include_tls_session,
        metadata_matcher(message.filter_enabled_metadata, where)
        if message.HasField("filter_enabled_metadata")
        else None,
        tuple(message.metadata_context_namespaces),
    )
