"""Where the mesh allows it, Weft's 403 says which rule denied and where that stands; Envoy, given
the same filters, says what it always says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from controlplane.authz.inquiry import Inquiry
from controlplane.emit.access import Guards, http_filters
from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.translate import build
from tests.support.authz_court import Court, Trial
from tests.support.authz_grid import BASE
from tests.support.envoy import envoy
from tests.support.ports import Reservation
from tests.support.process import ProxyProcess
from tests.support.weft_proxy import weft_proxy

POLICIES = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system, annotations: {weft.dev/denial-details: "true"}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-writing, namespace: shop}
spec:
  action: DENY
  rules:
  - to: [{operation: {methods: [PUT]}}]
  - to: [{operation: {methods: [DELETE]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reading, namespace: shop}
spec:
  rules:
  - to: [{operation: {paths: [/read]}}]
"""
PLAIN = "RBAC: access denied"
TOLD = {
    "DELETE": f"{PLAIN} by ns[shop]-policy[no-writing]-rule[1] (p.yaml:12:5)",
    "PATCH": f"{PLAIN}: no ALLOW policy applies: shop/reading (p.yaml:14:1)",
}
Start = Callable[[dict[str, Any], Path], ProxyProcess]


def guards() -> Guards:
    mesh, _ = build(Snapshot(parse(POLICIES, "p.yaml").objects), "cluster.local")
    found = Guards.of(mesh.security, "shop", {})
    assert found.in_body
    return found


def bodies(start: Start, folder: Path, told: Guards) -> dict[str, str]:
    """What a denied request is told, by its method."""

    def filters(port: int, numbers: tuple[int, ...]) -> Sequence[Message]:
        return http_filters(told, port, numbers)

    inquiries = tuple(replace(BASE, method=method) for method in TOLD)
    trial = Trial("told", True, filters, inquiries)

    async def judge() -> dict[str, str]:
        with Reservation() as reservation:
            court = Court([trial], folder, reservation, names_rules=False)
            with start(court.bootstrap(), folder):
                verdicts = (await court.verdicts())["told"]
        asked: list[Inquiry] = list(inquiries)
        return {one.method: found.detail for one, found in zip(asked, verdicts, strict=True)}

    return asyncio.run(judge())


@pytest.mark.parametrize(
    ("start", "in_body", "expected"),
    [
        (weft_proxy, True, TOLD),
        (weft_proxy, False, dict.fromkeys(TOLD, PLAIN)),
        (envoy, True, dict.fromkeys(TOLD, PLAIN)),
    ],
)
def test_a_denial_says_why_where_the_mesh_allows_it(
    tmp_path: Path, start: Start, in_body: bool, expected: dict[str, str]
) -> None:
    assert bodies(start, tmp_path, replace(guards(), in_body=in_body)) == expected
