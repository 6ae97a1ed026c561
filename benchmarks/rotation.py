"""Replaces root, intermediate and leaves again and again under load.

A caller's sidecar and two servers behind theirs (Weft, and with --envoy a real Envoy beside it, or
as the caller): requests on kept and new connections, gRPC calls and streams, TCP. Every failure is
shown. Exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.support.rotating import Kind, Outcome, Rotating, What

MESHES: dict[str, tuple[Kind, tuple[Kind, ...]]] = {
    "weft": ("weft", ("weft", "weft")),
    "envoy-server": ("weft", ("weft", "envoy")),
    "envoy-caller": ("envoy", ("weft", "weft")),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mesh", choices=[*MESHES, "each"], default="each")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each mesh")
    parser.add_argument("--per-second", type=float, default=1000.0)
    parser.add_argument("--leaf-ttl", type=int, default=10, help="seconds; renewed at half")
    options = parser.parse_args()
    names = list(MESHES) if options.mesh == "each" else [options.mesh]
    outcomes = {
        name: _run(name, options.seconds, options.per_second, options.leaf_ttl) for name in names
    }
    return 1 if any(outcome.failed for outcome in outcomes.values()) else 0


def _run(name: str, seconds: float, per_second: float, ttl_s: int) -> Outcome:
    caller, servers = MESHES[name]
    with ExitStack() as stack, tempfile.TemporaryDirectory() as directory:
        mesh = Rotating(Path(directory), stack, caller, servers, ttl_s)
        outcome = mesh.run(per_second, _alternately(seconds))
        renewed = mesh.renewals()
    print(f"{name}: {outcome.done} exchanges in {outcome.seconds:.0f} s, {renewed} renewals")
    for what in ("root", "intermediate"):
        took = [each_s for kind, each_s in outcome.rotations if kind == what]
        if took:
            print(f"  {what}: {len(took)} times, {min(took):.1f} to {max(took):.1f} s each")
    for kind, one in outcome.kinds.items():
        failed = len(one["failed"])
        print(f"  {kind:8} {one['done']:8} done {failed:4} failed  slowest {one['slowest_ms']} ms")
        for at_s, why in one["failed"][:5]:
            print(f"           after {at_s:.1f} s: {why}")
    return outcome


def _alternately(seconds: float) -> Iterator[What]:
    """'root' and 'intermediate' in turn, until the time is over."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        yield "root"
        yield "intermediate"


if __name__ == "__main__":
    sys.exit(main())
