"""Whoever calls the control plane for long follows it when its authority is replaced."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from protos.gen.weft.v1 import management_pb2 as pb
from tests.support.pki import Authority
from weft.bootstrap import CONTROL_PLANE_NAME
from weft.management import Management, Unavailable

OLD, NEW = Authority("old"), Authority("new")


async def _status(request: bytes, context: object) -> bytes:
    return pb.MeshStatus(version="here").SerializeToString()


async def served_by(authority: Authority, port: int = 0) -> tuple[Any, int]:
    """A management API with a certificate of this authority, and its port."""
    pair = authority.issue(dns=(CONTROL_PLANE_NAME,))
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers = {"GetStatus": grpc.unary_unary_rpc_method_handler(_status)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("weft.v1.Management", handlers),)
    )
    credentials = grpc.ssl_server_credentials([(pair.key.encode(), pair.certificate.encode())])
    port = server.add_secure_port(f"127.0.0.1:{port}", credentials)
    await server.start()
    return server, port


async def test_the_roots_are_those_of_now(tmp_path: Path) -> None:
    roots = tmp_path / "root.pem"
    roots.write_text(OLD.pem)
    server, port = await served_by(OLD)
    management = Management(f"127.0.0.1:{port}", roots, "secret")
    assert (await management.status()).version == "here"
    await server.stop(0)
    server, _ = await served_by(NEW, port)
    with pytest.raises(Unavailable):
        await management.status()
    roots.write_text(NEW.pem)
    both = await asyncio.gather(management.status(), management.status())
    assert [one.version for one in both] == ["here", "here"]
    await management.close()
    await server.stop(0)
