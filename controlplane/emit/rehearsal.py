"""The cluster by which a proxy tries a chain before it counts: a check of a probe, nothing more.

A plain health check over TLS, so that any xDS client can take part. No route names the cluster. The
certificate that the proxy shows there comes by SDS, as keys must not be kept with configuration.
"""

from __future__ import annotations

import hashlib

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.base_pb2 import DataSource, TransportSocket
from envoy.config.core.v3.health_check_pb2 import HealthCheck
from envoy.config.endpoint.v3.endpoint_components_pb2 import (
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, UpstreamTlsContext
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import UInt32Value

from controlplane.emit import names
from controlplane.emit.secrets import certificate
from controlplane.emit.tls import TLS_SOCKET, by_sds
from controlplane.emit.words import packed, seconds
from controlplane.snapshot import Draft

REHEARSAL_CLUSTER = "weft_rehearsal"
CHECK_TIMEOUT_S = 3.0
_INTERVAL_S = 60.0


def server_name(who: str) -> str:
    """By which the probe knows who comes. who: of any length and of any characters."""
    return f"n{hashlib.sha256(who.encode()).hexdigest()[:32]}.rehearsal.weft.internal"


def draft(
    who: str,
    where: tuple[str, int],
    bundle_pem: bytes,
    identity: str,
    shown_pem: tuple[bytes, bytes] | None = None,
) -> Draft:
    """What one proxy gets. where: the probe's host and port; it shows `identity`. shown_pem: chain
    and key of the certificate that the proxy shows."""
    made = cluster(who, *where, bundle_pem, identity, shows=shown_pem is not None)
    if shown_pem is None:
        return Draft(clusters=(made,))
    return Draft((made,), secrets=(certificate(*shown_pem, names.REHEARSAL_SECRET),))


def cluster(
    who: str, host: str, port: int, bundle_pem: bytes, identity: str, *, shows: bool
) -> Cluster:
    """Verifies the probe at host:port, which shows `identity`, by `bundle_pem`. shows: it shows the
    certificate of the secret `weft.dev/rehearsal`."""
    address = Address(socket_address=SocketAddress(address=host, port_value=port))
    return Cluster(
        name=REHEARSAL_CLUSTER,
        type=Cluster.STATIC,
        connect_timeout=seconds(CHECK_TIMEOUT_S),
        load_assignment=ClusterLoadAssignment(
            cluster_name=REHEARSAL_CLUSTER,
            endpoints=[
                LocalityLbEndpoints(
                    lb_endpoints=[LbEndpoint(endpoint=Endpoint(address=address))],
                )
            ],
        ),
        health_checks=[
            HealthCheck(
                timeout=seconds(CHECK_TIMEOUT_S),
                interval=seconds(_INTERVAL_S),
                no_traffic_interval=seconds(_INTERVAL_S),
                healthy_threshold=UInt32Value(value=1),
                unhealthy_threshold=UInt32Value(value=1),
                tcp_health_check=HealthCheck.TcpHealthCheck(),
            )
        ],
        transport_socket=_tls(server_name(who), bundle_pem, identity, shows),
    )


def _tls(sni: str, bundle_pem: bytes, identity: str, shows: bool) -> TransportSocket:
    validation = CertificateValidationContext(
        trusted_ca=DataSource(inline_bytes=bundle_pem),
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(
                san_type=SubjectAltNameMatcher.URI, matcher=StringMatcher(exact=identity)
            )
        ],
    )
    common = CommonTlsContext(
        validation_context=validation,
        tls_certificate_sds_secret_configs=[by_sds(names.REHEARSAL_SECRET)] if shows else [],
    )
    context = UpstreamTlsContext(common_tls_context=common, sni=sni)
    return TransportSocket(name=TLS_SOCKET, typed_config=packed(context))
