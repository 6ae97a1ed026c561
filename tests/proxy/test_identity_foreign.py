"""A proxy whose certificate comes from another CA than its control plane: istiod's protocol, a
mounted Kubernetes token, and that CA's own name. Our CSR service plays the other one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from certs.authority import Authority
from certs.errors import CertificateError
from certs.keys import generate_key
from certs.spiffe import SpiffeId
from certs.x509 import chain_to_pem
from controlplane.ca.token_review import TokenReviews
from proxy.certificate_call import checked_svid
from proxy.config.model import Secret
from proxy.identity import Identity, IdentityOptions, read_token
from proxy.tasks import spawn
from tests.support.api_server import FakeApiServer, serving
from tests.support.ca import RunningCa, running_ca
from tests.support.wait import eventually_async

# One of the names of its certificate that is not the control plane's.
OTHER_NAME = "localhost"
CART = SpiffeId.workload("cluster.local", "shop", "cart")


@pytest.fixture
async def fake() -> FakeApiServer:
    return FakeApiServer()


@pytest.fixture
async def ca(fake: FakeApiServer, tmp_path: Path) -> AsyncIterator[RunningCa]:
    async with (
        serving(fake, tmp_path) as server,
        TokenReviews(server, ("istio-ca",), "cluster.local") as reviews,
        running_ca(tmp_path / "ca", service_accounts=reviews) as running,
    ):
        yield running


@pytest.fixture
def options(ca: RunningCa, fake: FakeApiServer, tmp_path: Path) -> IdentityOptions:
    root, token = tmp_path / "root.pem", tmp_path / "istio-token"
    root.write_bytes(ca.root_pem)
    token.write_text(fake.token("shop", "cart"))
    token.chmod(0o644)  # as the kubelet mounts it
    return IdentityOptions(f"127.0.0.1:{ca.port}", root, token, server_name=OTHER_NAME)


@asynccontextmanager
async def running(options: IdentityOptions) -> AsyncIterator[tuple[Identity, list[Secret]]]:
    secrets: list[Secret] = []
    identity = Identity(options, secrets.append, jitter=lambda: 0.0)
    task = spawn(identity.run(), "identity")
    try:
        yield identity, secrets
    finally:
        task.cancel()


async def test_a_mounted_token_buys_a_certificate_there(
    ca: RunningCa, options: IdentityOptions
) -> None:
    async with running(options) as (identity, secrets):
        await eventually_async(lambda: secrets)
        assert identity.svid is not None
        assert str(identity.svid.spiffe_id) == "spiffe://cluster.local/ns/shop/sa/cart"
    assert ca.count("citadel_server_success_cert_issuance_total") == 1


async def test_a_ca_of_another_name_is_not_asked(ca: RunningCa, options: IdentityOptions) -> None:
    istiod = replace(options, server_name="istiod.istio-system.svc")
    async with running(istiod) as (identity, _):
        await eventually_async(lambda: identity.last_error)
        assert "istiod.istio-system.svc" in identity.last_error
    assert ca.count("citadel_server_csr_total") == 0


def test_a_join_token_must_be_private(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("secret")
    path.chmod(0o644)
    with pytest.raises(CertificateError, match="make it private"):
        read_token(path)
    path.chmod(0o600)
    assert read_token(path) == b"secret"


def test_all_roots_may_stand_at_the_end_of_an_answer() -> None:
    """As istiod answers while its root is replaced."""
    now, key = 1_800_000_000.0, generate_key()
    root, other = (Authority.create("cluster.local", now) for _ in range(2))
    below = root.create_intermediate(now)
    *chain, own_root = below.sign(key.public_key(), CART, 600, now)
    pems = [chain_to_pem([one]).decode() for one in chain]
    first, second = (chain_to_pem([one]).decode() for one in (own_root, other.certificate))
    for roots in ([], [first], [first, second], [second, first]):
        assert checked_svid(key, [*pems, *roots], now).chain == tuple(chain)
    with pytest.raises(CertificateError, match="is not signed by the root that came with it"):
        checked_svid(key, [*pems, second], now)
