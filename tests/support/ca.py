"""A running CA: both gRPC ports on 127.0.0.1, with the real rooms behind them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import aio
from prometheus_client import CollectorRegistry

from certs.keys import PrivateKey, key_to_pem
from certs.store import StoredAuthority, open_store
from controlplane.ca.authenticate import Authenticator
from controlplane.ca.caller import ServiceAccountTokens
from controlplane.ca.issuer import Issuer, LocalIssuer
from controlplane.ca.live import LiveAuthority
from controlplane.ca.metrics import CaMetrics
from controlplane.ca.server_credentials import (
    SERVER_NAME,
    ServingCertificate,
    mtls_credentials,
    tls_credentials,
)
from controlplane.ca.service import CertificateService
from controlplane.ca.tokens import JoinTokens
from controlplane.rpc.server import Server
from protos.gen.istio import ca_pb2

ADMIN_TOKEN = "administrator's secret of some length"
CALL_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class RunningCa:
    """Ports and the parts that a test may turn."""

    authority: LiveAuthority
    tokens: JoinTokens
    serving: ServingCertificate
    port: int
    mtls_port: int
    registry: CollectorRegistry

    @property
    def stored(self) -> StoredAuthority:
        return self.authority.stored

    @property
    def root_pem(self) -> bytes:
        return self.authority.bundle.to_pem()

    def count(self, name: str, **labels: str) -> float:
        """A counter's value, 0 if it never counted."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def dial(self) -> aio.Channel:
        """TLS without a client certificate."""
        return _channel(self.port, grpc.ssl_channel_credentials(self.root_pem))

    def dial_mtls(self, key: PrivateKey | None = None, chain_pem: bytes = b"") -> aio.Channel:
        """To the mutual-TLS port, with a client certificate or (wrongly) without."""
        if key is None:
            return _channel(self.mtls_port, grpc.ssl_channel_credentials(self.root_pem))
        credentials = grpc.ssl_channel_credentials(self.root_pem, key_to_pem(key), chain_pem)
        return _channel(self.mtls_port, credentials)


def _channel(port: int, credentials: grpc.ChannelCredentials) -> aio.Channel:
    # A subchannel pool of its own: otherwise gRPC would share connections between tests.
    options = [
        ("grpc.ssl_target_name_override", SERVER_NAME),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)


@asynccontextmanager
async def running_ca(
    state_dir: Path,
    *,
    clock: Callable[[], float] = time.time,
    started_at: float | None = None,
    service_accounts: ServiceAccountTokens | None = None,
    issuer: Issuer | None = None,
    **service_options: Any,
) -> AsyncIterator[RunningCa]:
    """`clock` is what the parts see; `started_at` when the root was made, if not now."""
    stored = open_store(state_dir, "cluster.local", started_at or time.time())
    tokens = JoinTokens(state_dir / "tokens.json", "cluster.local")
    authority = LiveAuthority(stored)
    serving = ServingCertificate(authority, clock=clock)
    registry = CollectorRegistry()
    service = CertificateService(
        issuer or LocalIssuer(authority),
        Authenticator(tokens, ADMIN_TOKEN, "cluster.local", service_accounts=service_accounts),
        tokens,
        CaMetrics(registry),
        clock=clock,
        **service_options,
    )
    server = Server()
    server.add_generic_rpc_handlers((service.handler(),))
    port = server.add_secure_port("127.0.0.1:0", tls_credentials(serving))
    mtls_port = server.add_secure_port("127.0.0.1:0", mtls_credentials(serving, authority))
    await server.start()
    try:
        yield RunningCa(authority, tokens, serving, port, mtls_port, registry)
    finally:
        await server.stop(0)


async def create_certificate(
    channel: aio.Channel, csr: bytes, token: str = "", **fields: Any
) -> list[str]:
    """The chain that the service answers; aio.AioRpcError as it refuses."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    request = ca_pb2.IstioCertificateRequest(csr=csr.decode(), **fields)
    # By the path that istiod, ztunnel and istio-csr know, not by our own service's constants.
    call = channel.unary_unary(
        "/istio.v1.auth.IstioCertificateService/CreateCertificate",
        ca_pb2.IstioCertificateRequest.SerializeToString,
        ca_pb2.IstioCertificateResponse.FromString,
    )
    response = await call(request, metadata=metadata, timeout=CALL_TIMEOUT_S)
    return list(response.cert_chain)
