"""What tools ask a gRPC server about itself: which services it has, and whether it serves.

gRPC's own protocols (grpc.reflection.v1alpha, grpc.health.v1), for grpcurl, probes and load
balancers. Neither tells anything of a mesh, so neither asks for a token. A question of 60 bytes
about a service is two milliseconds of work: strangers' questions wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

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
_Reflection: Any = reflection.aio.ReflectionServicer  # type: ignore[attr-defined]
APART_S = 0.02
"""From one answer about services to the next, of whomever they are."""
SERVING = health_pb2.HealthCheckResponse.SERVING


class Introspection:
    """Of a server that has all of SERVICES; call `stopping` before it ends."""

    def __init__(self) -> None:
        self._health = health.HealthServicer()

    async def register(self, server: Registry) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*SERVICES, HEALTH, reflection.SERVICE_NAME)
        asked = _Patient(names)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(asked, server)
        for name in ("", *SERVICES):
            await self._health.set(name, SERVING)

    async def stopping(self) -> None:
        """Whoever watches goes elsewhere."""
        await self._health.enter_graceful_shutdown()


class _Patient(_Reflection):  # type: ignore[misc]  # unknown to the stubs
    """One answer after the other, and only so many in a while."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self._turn = asyncio.Lock()

    def ServerReflectionInfo(
        self, requests: AsyncIterable[Any], context: Any
    ) -> AsyncIterator[Any]:
        found: AsyncIterator[Any] = super().ServerReflectionInfo(self._slowly(requests), context)
        return found

    async def _slowly(self, requests: AsyncIterable[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            async with self._turn:
                await asyncio.sleep(APART_S)
            yield request
