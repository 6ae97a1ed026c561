"""Our control plane's resources for a Weft proxy are all taken by the proxy's decoders."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.emit.envoy import emit
from controlplane.emit.node import Node
from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.translate import build
from protos.types import CDS, EDS, LDS, RDS
from proxy.config.decode import decode
from proxy.config.rejected import Rejected

GOLDEN = Path(__file__).parents[2] / "controlplane" / "translate" / "golden"
CASES = sorted(path.name.removesuffix(".in.yaml") for path in GOLDEN.glob("*.in.yaml"))


@pytest.mark.parametrize("case", CASES)
def test_everything_is_accepted(case: str) -> None:
    source = f"{case}.in.yaml"
    parsed = parse((GOLDEN / source).read_text("utf-8"), source)
    inventory = Inventory()
    inventory.replace(Origin.file(source), parsed.objects, parsed.statuses)
    mesh, _ = build(inventory.snapshot(), "cluster.local")
    refused = []
    for workload in mesh.workloads or ():
        node = Node("id", workload.namespace, workload.name, http_proxy_port=15080, weft_agent=True)
        draft = emit(mesh, node)
        kinds = (
            (CDS, draft.clusters),
            (EDS, draft.endpoints),
            (LDS, draft.listeners),
            (RDS, draft.routes),
        )
        for type_url, messages in kinds:
            for message in messages:
                try:
                    decode(type_url, message.SerializeToString())
                except Rejected as error:
                    refused.append(str(error))
    assert refused == []
