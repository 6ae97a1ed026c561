"""`python -m tests.differential.report [NAME ...]`: all differences, none stops the rest.

`--envoy` runs Envoy alone and prints what it answered: for writing a scenario. `--steady` compares
Envoy with itself: what differs there judges nobody.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.differential import scenario as scenarios
from tests.differential.compare import differences
from tests.differential.observe import Starter, observe
from tests.differential.pki import Pki
from tests.differential.scenario import Scenario
from tests.support.envoy import envoy
from tests.support.weft_proxy import weft_proxy


async def _envoy_alone(scenario: Scenario, folder: Path) -> bool:
    seen = await observe(scenario, envoy, folder / "envoy", Pki(folder))
    said = [f"{line.get('code')} {line.get('flags')}" for line in seen["log"]]
    wanted = list(scenario.expect)
    mark = "ok" if said == wanted else f"EXPECTED {wanted}, SAID {said}"
    print(f"## {scenario.name}: {mark}")
    print(json.dumps({key: seen[key] for key in ("client", "upstream", "log")}, indent=1))
    return said == wanted


async def _compare(scenario: Scenario, folder: Path, other: Starter) -> bool:
    pki = Pki(folder)
    try:
        judged = await observe(scenario, envoy, folder / "envoy", pki)
        seen = await observe(scenario, other, folder / "weft", pki)
    except AssertionError as failure:
        print(f"\n## {scenario.name}: {scenario.about}\n\n{str(failure)[-1500:]}")
        return False
    found = differences(scenario.name, judged, seen)
    if found:
        print(f"\n## {scenario.name}: {scenario.about}\n")
        print("\n".join(f"- {difference}" for difference in found), flush=True)
    return not found


async def _both(scenario: Scenario, folder: Path) -> bool:
    return await _compare(scenario, folder, weft_proxy)


async def _steady(scenario: Scenario, folder: Path) -> bool:
    return await _compare(scenario, folder, envoy)


def main(arguments: list[str]) -> None:
    """Exit code 1 when anything differs."""
    modes = {"--envoy": _envoy_alone, "--steady": _steady}
    run = next((modes[mode] for mode in arguments if mode in modes), _both)
    chosen = [name for name in arguments if not name.startswith("-")] or scenarios.names()
    equal = 0
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            for side in ("envoy", "weft"):
                (Path(folder) / side).mkdir()
            equal += asyncio.run(run(scenarios.load(name), Path(folder)))
    print(f"\n{equal} of {len(chosen)} scenarios without a difference")
    sys.exit(equal != len(chosen))


if __name__ == "__main__":
    main(sys.argv[1:])
