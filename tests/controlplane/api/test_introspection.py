"""Tools that know gRPC find the services, their messages, and whether they are served."""

from __future__ import annotations

import queue
import signal
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from controlplane.api.introspection import SERVICES
from tests.support.control_plane import ControlPlane


def test_services_describe_themselves_and_say_that_they_serve(tmp_path: Path) -> None:
    (tmp_path / "mesh").mkdir()
    with ControlPlane(tmp_path / "mesh", tmp_path / "state") as plane:
        channel = plane.channel()
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(SERVICES) < set(database.get_services())
        pool = DescriptorPool(database)
        for name in SERVICES:
            assert pool.FindServiceByName(name).methods, name
        apply = pool.FindMethodByName("weft.v1.Management.Apply")
        assert "manifests" in apply.input_type.fields_by_name

        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", *SERVICES):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        heard: queue.SimpleQueue[int] = queue.SimpleQueue()
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
        heard.put(next(watch).status)
        plane.keep_channel = True
        assert plane.stop(signal.SIGTERM) == 0
        try:
            for each in watch:
                heard.put(each.status)
        except grpc.RpcError:
            pass  # its end
        assert [heard.get(), heard.get()] == [
            health_pb2.HealthCheckResponse.SERVING,
            health_pb2.HealthCheckResponse.NOT_SERVING,
        ]
