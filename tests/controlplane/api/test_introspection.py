"""Tools that know gRPC find the services, their messages, and whether they are served."""

from __future__ import annotations

import asyncio
import queue
import signal
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from controlplane.api import introspection
from controlplane.api.introspection import SERVICES
from controlplane.rpc.server import Server
from controlplane.tasks import spawn
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


async def test_questions_wait_for_each_other_and_keep_nobody_else_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(introspection, "APART_S", 3600.0)
    server = Server()
    await introspection.Introspection().register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked: list[Any] = [stub.ServerReflectionInfo(iter([question] * 5)) for _ in range(2)]
        answers = [spawn(one.read(), "an answer") for one in asked]
        health: Any = health_pb2_grpc.HealthStub(channel)
        for _ in range(3):
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=60)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert not any(one.done() for one in answers)
        for one in answers:
            one.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
    await server.stop(0)
