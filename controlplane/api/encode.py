"""The mesh's status in the management API's messages."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.mesh.model import Status
from controlplane.objects import Deletion, Outcome, Stored
from controlplane.rollout import Progress
from controlplane.status import MeshStatus, ProxyStatus
from protos.gen.weft.v1 import management_pb2 as pb


def timestamp(seconds: float) -> Timestamp:
    result = Timestamp()
    result.FromMicroseconds(round(seconds * 1e6))
    return result


def encode_status(status: MeshStatus) -> pb.MeshStatus:
    return pb.MeshStatus(
        version=status.version,
        changed_at=timestamp(status.changed_at),
        services=[
            pb.ServiceStatus(
                hostname=service.hostname,
                namespace=service.namespace,
                endpoints_total=service.endpoints_total,
                endpoints_healthy=service.endpoints_healthy,
                requests=service.requests,
                errors=service.errors,
            )
            for service in status.services
        ],
        proxies=[_proxy(proxy) for proxy in status.proxies],
        objects=[encode_object(item) for item in status.objects],
    )


def encode_object(status: Status) -> pb.ObjectStatus:
    return pb.ObjectStatus(
        object=status.object,
        severity=status.severity,
        code=status.code,
        message=status.message,
        position=str(status.position),
    )


def _proxy(proxy: ProxyStatus) -> pb.ProxyStatus:
    nacks = [
        pb.Nack(type_url=item.type_url, message=f"{name}: {message}" if name else message)
        for item in proxy.types
        for name, message in item.rejected.items()
    ]
    result = pb.ProxyStatus(
        node_id=proxy.node_id,
        namespace=proxy.namespace,
        workload=proxy.workload,
        identity=proxy.identity,
        user_agent=proxy.user_agent,
        connected_at=timestamp(proxy.connected_at),
        synced=proxy.synced,
        nacks=nacks,
        left_out=proxy.left_out,
    )
    if proxy.last_push_at:
        result.last_push_at.CopyFrom(timestamp(proxy.last_push_at))
    return result


def encode_outcome(outcome: Outcome) -> pb.ApplyResponse:
    return pb.ApplyResponse(
        statuses=[encode_object(status) for status in outcome.statuses],
        objects=[
            pb.AppliedObject(kind=key.kind, namespace=key.namespace, name=key.name, change=change)
            for key, change in outcome.changes
        ],
        rollout=None if outcome.rollout is None else _rollout(outcome.rollout),
    )


def encode_deletion(done: Deletion) -> pb.DeleteResponse:
    rollout = None if done.rollout is None else _rollout(done.rollout)
    return pb.DeleteResponse(existed=done.existed, rollout=rollout)


def _rollout(progress: Progress) -> pb.Rollout:
    return pb.Rollout(
        concerned=progress.concerned,
        live=progress.live,
        refused=[pb.Refusal(node_id=node, message=why) for node, why in progress.refused],
        over=progress.over,
    )


def encode_stored(stored: Stored) -> pb.StoredObject:
    return pb.StoredObject(
        kind=stored.key.kind,
        namespace=stored.key.namespace,
        name=stored.key.name,
        labels=stored.labels,
        source=stored.source,
        position=stored.position,
        manifest=stored.manifest,
        statuses=[encode_object(status) for status in stored.statuses],
    )


def encode_proxy(proxy: ProxyStatus) -> pb.Proxy:
    """With what is known of each type."""
    types = [
        pb.TypeSync(
            type_url=one.type_url,
            sent_version=one.sent_version,
            acked_version=one.acked_version,
            resources=one.resources,
        )
        for one in proxy.types
    ]
    return pb.Proxy(status=_proxy(proxy), variant=proxy.variant, types=types)
