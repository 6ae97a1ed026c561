"""From the command line's words to the checker of service-account tokens."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from certs.errors import CertificateError
from controlplane.ca.kubernetes import KubernetesOptions, open_service_accounts
from controlplane.ca.offline_tokens import OfflineTokens
from controlplane.ca.token_review import TokenReviews
from tests.support.api_server import ISSUER, FakeApiServer, serving

NOWHERE: dict[str, str] = {}


async def test_nothing_said_nothing_accepted() -> None:
    async with AsyncExitStack() as stack:
        assert await open_service_accounts(KubernetesOptions(), "td", stack, NOWHERE) is None


async def test_both_ways(tmp_path: Path) -> None:
    async with serving(FakeApiServer(), tmp_path) as server, AsyncExitStack() as stack:
        asked = KubernetesOptions(server.url, credentials=tmp_path)
        assert isinstance(await open_service_accounts(asked, "td", stack, NOWHERE), TokenReviews)
        host, port = server.url.removeprefix("https://").split(":")
        pod = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        inside = replace(asked, token_review="in-cluster")
        assert isinstance(await open_service_accounts(inside, "td", stack, pod), TokenReviews)
    jwks = write_jwks(tmp_path)
    async with AsyncExitStack() as stack:
        offline = KubernetesOptions(jwks=jwks, issuer=ISSUER)
        assert isinstance(await open_service_accounts(offline, "td", stack, NOWHERE), OfflineTokens)


def write_jwks(folder: Path) -> Path:
    path = folder / "jwks.json"
    path.write_text(FakeApiServer().jwks())
    return path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (KubernetesOptions("https://x", jwks=Path("x"), issuer="x"), "in one way"),
        (KubernetesOptions(jwks=Path("x")), "needs --service-account-issuer"),
        (KubernetesOptions(jwks=Path("absent"), issuer="x"), "absent: No such file"),
        (KubernetesOptions("in-cluster"), "KUBERNETES_SERVICE_HOST"),
        (KubernetesOptions("http://10.0.0.1"), "only https://"),
        (KubernetesOptions("https://x", credentials=Path("absent")), "ca.crt: No such file"),
    ],
)
async def test_options_that_cannot_be(options: KubernetesOptions, words: str) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(CertificateError, match=words):
            await open_service_accounts(options, "td", stack, NOWHERE)
