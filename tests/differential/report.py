"""`python -m tests.differential.report [NAME ...] [--area X]` prints all differences.

`--envoy` runs Envoy alone and prints what it answered: for writing a scenario. `--steady` compares
Envoy with itself: what differs there judges nobody. `--keep DIR` leaves configurations and logs.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from tests.differential import scenario as scenarios
from tests.differential.batch import Judges, Verdict
from tests.differential.pki import Pki
from tests.differential.runner import Runner
from tests.support import compiled
from tests.support.envoy import envoy
from tests.support.weft_proxy import weft_proxy


def _options(arguments: list[str]) -> Namespace:
    parser = ArgumentParser(prog="tests.differential.report", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--area", default="")
    parser.add_argument("--envoy", action="store_true")
    parser.add_argument("--steady", action="store_true")
    parser.add_argument("--keep", type=Path)
    return parser.parse_args(arguments)


def _tell(verdict: Verdict, *, alone: bool) -> bool:
    """Prints what there is to say; whether the scenario is as it should be."""
    name, wanted = verdict.scenario.name, list(verdict.scenario.expect)
    right = verdict.said == wanted
    if verdict.again:
        print(f"\n## {name}: differed among others, not alone:\n{verdict.again}", flush=True)
    if not verdict.equal:
        print(f"\n## {name}: {verdict.scenario.about}\n\n{verdict}", flush=True)
    elif alone:
        seen = {key: value for key, value in (verdict.envoy or {}).items() if value}
        print(f"\n## {name}\n{json.dumps(seen, indent=1)}", flush=True)
    if not verdict.trouble and not right:
        print(f"\n## {name}: expect is {wanted}, Envoy's log says {verdict.said}", flush=True)
    return verdict.equal and right


def main(arguments: list[str]) -> None:
    """Exit code 1 when anything differs."""
    options = _options(arguments)
    print(f"judged: {compiled.use_if_ready()}")
    chosen = options.names or scenarios.names(options.area)
    other = None if options.envoy else envoy if options.steady else weft_proxy
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = options.keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        runner = Runner(
            [scenarios.load(name) for name in chosen], Judges(envoy, other, Pki(place), place)
        )
        equal = [_tell(runner.verdict(name), alone=options.envoy) for name in chosen]
    took_s = time.monotonic() - began
    print(f"\n{sum(equal)} of {len(chosen)} scenarios without a difference, {took_s:.1f} s")
    sys.exit(not all(equal))


if __name__ == "__main__":
    main(sys.argv[1:])
