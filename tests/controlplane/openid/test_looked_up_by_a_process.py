"""A control plane as a process looks keys up and says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.controlplane.openid.test_discovery import provider
from tests.support.control_plane import ControlPlane
from tests.support.wait import eventually

POLICY = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: ids}}
spec: {{jwtRules: [{{issuer: "{issuer}"}}]}}
"""


async def test_the_status_says_which_keys_there_are(tmp_path: Path) -> None:
    config = tmp_path / "mesh"
    config.mkdir()
    async with provider() as issuer:
        (config / "ids.yaml").write_text(POLICY.format(issuer=issuer))
        with ControlPlane(config, tmp_path / "state") as plane:

            def told() -> bool:
                return f"1 key of '{issuer}' from {issuer}/keys" in str(plane.status())

            await asyncio.to_thread(eventually, told, 20.0, "the keys were looked up")
        assert list((tmp_path / "state" / "openid").iterdir())
