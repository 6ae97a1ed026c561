"""A real Envoy takes every mesh that is kept as a golden file, one after another, live."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.mesh.model import HttpRule, RouteMatch
from tests.support.emit_cases import CASES, regex, ruled, to
from tests.support.judge import judging


@pytest.mark.parametrize("variant", ["delta", "sotw"])
async def test_envoy_takes_every_mesh(tmp_path: Path, variant: str) -> None:
    async with judging(tmp_path, delta=variant == "delta") as judge:
        objections = {}
        for name, build in CASES.items():
            if found := await judge.judge(build()):
                objections[name] = found
        assert objections == {}


async def test_the_judge_objects_and_what_follows_is_taken(tmp_path: Path) -> None:
    async with judging(tmp_path, delta=True) as judge:
        broken = HttpRule((RouteMatch(uri=regex("(")),), (to(),))
        found = await judge.judge(ruled(broken))
        assert "http_proxy" in found["RDS"], found
        assert await judge.judge(CASES["strict"]()) == {}
