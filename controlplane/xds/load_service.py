"""Envoy's LoadReportingService over gRPC: clients say every few seconds what they have sent.

Admitted as discovery streams are. A client that can, reports all of its clusters; of another the
services' are asked for by name.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import grpc
from envoy.config.core.v3.base_pb2 import Node as EnvoyNode
from envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest, LoadStatsResponse
from google.protobuf.message import DecodeError

from certs.spiffe import SpiffeId
from controlplane.emit.node import BadNode, parse
from controlplane.rpc.context import Context
from controlplane.xds.admission import Seats, objection
from controlplane.xds.loads import Loads
from controlplane.xds.service import Authenticate, refuse

log = logging.getLogger("weft.controlplane.xds")

SERVICE = "envoy.service.load_stats.v3.LoadReportingService"
INTERVAL_S = 10.0
"""Between two reports of a client."""

TAKES_ALL = "envoy.lrs.supports_send_all_clusters"
MAX_NAMED = 10_000
"""Clusters that are asked for by name."""


class LoadService:
    def __init__(
        self,
        authenticate: Authenticate,
        loads: Loads,
        interval_s: float = INTERVAL_S,
        seats: Seats | None = None,
    ) -> None:
        self._authenticate = authenticate
        self._loads = loads
        self._interval_s = interval_s
        self._seats = seats or Seats()

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """What to add to our server."""
        methods = {"StreamLoadStats": grpc.stream_stream_rpc_method_handler(self._stream)}
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _stream(
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        proof = await self._authenticate(context)
        if proof.refusal:
            await refuse(context, grpc.StatusCode.UNAUTHENTICATED, proof.refusal)
        first = await anext(aiter(requests), None)
        if first is None:
            return
        request = await _decode(first, context)
        identity = await _admit(request.node, proof.identity, context)
        if no_room := self._seats.take(identity):
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, no_room)
        reporter = self._loads.joined()
        try:
            yield self._wanted(request.node).SerializeToString()
            self._loads.report(reporter, request)
            async for data in requests:
                if not self._loads.report(reporter, await _decode(data, context)):
                    log.warning("a report of loads by %s is too long: cut", identity)
        finally:
            self._loads.left(reporter)
            self._seats.leave(identity)

    def _wanted(self, node: EnvoyNode) -> LoadStatsResponse:
        answer = LoadStatsResponse()
        answer.load_reporting_interval.FromNanoseconds(round(self._interval_s * 1e9))
        if TAKES_ALL in node.client_features:
            answer.send_all_clusters = True
        else:
            answer.clusters.extend(sorted(self._loads.known)[:MAX_NAMED])
        return answer


async def _admit(node: EnvoyNode, identity: SpiffeId | None, context: Context) -> SpiffeId:
    try:
        if why_not := objection(parse(node), identity):
            await refuse(context, grpc.StatusCode.PERMISSION_DENIED, why_not)
    except BadNode as error:
        await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
    assert identity is not None  # objection() has seen to it
    return identity


async def _decode(data: bytes, context: Context) -> LoadStatsRequest:
    try:
        return LoadStatsRequest.FromString(data)
    except DecodeError as error:
        reason = f"not a LoadStatsRequest: {error}"
        return await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, reason)
