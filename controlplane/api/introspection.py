"""What tools ask a gRPC server about itself: which services it has, and whether it serves.

gRPC's own protocols (grpc.reflection.v1alpha, grpc.health.v1), for grpcurl, probes and load
balancers. Neither tells anything of a mesh, so neither asks for a token.
"""

from __future__ import annotations

from envoy.service.discovery.v3 import ads_pb2
from envoy.service.load_stats.v3 import lrs_pb2
from envoy.service.status.v3 import csds_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_health.v1.health import aio as health  # type: ignore[attr-defined]  # set at run time
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from controlplane.rpc.methods import Registry
from protos.gen.istio import ca_pb2
from protos.gen.weft.v1 import authority_pb2, doctor_pb2, management_pb2

_FILES = (management_pb2, authority_pb2, doctor_pb2, ca_pb2, ads_pb2, lrs_pb2, csds_pb2)
SERVICES = tuple(
    service.full_name for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
)
SERVING = health_pb2.HealthCheckResponse.SERVING


class Introspection:
    """Of a server that has all of SERVICES; call `stopping` before it ends."""

    def __init__(self) -> None:
        self._health = health.HealthServicer()

    async def register(self, server: Registry) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*SERVICES, HEALTH, reflection.SERVICE_NAME)
        asked = reflection.aio.ReflectionServicer(names)  # type: ignore[attr-defined]
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(asked, server)
        for name in ("", *SERVICES):
            await self._health.set(name, SERVING)

    async def stopping(self) -> None:
        """Whoever watches goes elsewhere."""
        await self._health.enter_graceful_shutdown()
