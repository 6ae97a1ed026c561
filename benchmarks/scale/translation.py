"""What the translation of one changed object costs, by its kind, in this process.

    python -m benchmarks.scale.translation [--services 1000] [--endpoints 20] [--changes 11]

As many services, rules, policies for clients and for access as the mesh has; CPU time of a build
that follows the change of one of them, parsing left out.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.scale import mesh
from controlplane.inventory import Inventory
from controlplane.kinds.parse import parse
from controlplane.translate import build
from controlplane.translate.memo import Memo

Change = Callable[[int], str]
"""A number of its own -> the text of an object as it is then."""
GOAL = "10 ms"


def changes(endpoints: int) -> dict[str, Change]:
    return {
        "Service endpoint": partial(mesh.endpoints, mesh.MOVING, endpoints),
        "VirtualService": partial(mesh.rules, mesh.MOVING),
        "DestinationRule": partial(mesh.policy, mesh.MOVING),
        "AuthorizationPolicy": partial(mesh.access, mesh.MOVING),
    }


def measure(services: int, endpoints: int, count: int) -> Iterator[tuple[str, float, float]]:
    """Kind, median and worst CPU in ms."""
    inventory, memo = Inventory(), Memo()
    for number in range(services):
        makers = mesh.service, mesh.policy, mesh.rules, mesh.access, mesh.workload
        for text in (mesh.endpoints(number, endpoints), *(make(number) for make in makers)):
            _put(inventory, text)
    build(inventory.snapshot(), "cluster.local", memo)
    gc.freeze()  # as in the control plane, which starts over with young objects
    for kind, make in changes(endpoints).items():
        found = [_cost_ms(inventory, memo, make(number)) for number in range(1, count + 2)][1:]
        yield kind, statistics.median(found), max(found)


def _put(inventory: Inventory, text: str) -> None:
    for item in parse(text, "benchmark").objects:
        inventory.put(item)


def _cost_ms(inventory: Inventory, memo: Memo, text: str) -> float:
    _put(inventory, text)
    snapshot, began_s = inventory.snapshot(), time.process_time()
    build(snapshot, "cluster.local", memo)
    return 1000 * (time.process_time() - began_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=20)
    parser.add_argument("--changes", type=int, default=11)
    options = parser.parse_args()
    for kind, middle_ms, worst_ms in measure(options.services, options.endpoints, options.changes):
        print(f"{kind:20} {middle_ms:6.1f} ms (max {worst_ms:.1f})   {GOAL}")


if __name__ == "__main__":
    main()
