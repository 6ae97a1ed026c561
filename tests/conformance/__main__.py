"""`python -m tests.conformance [SUITE ...]`: passed of total for each, and what failed and why.

`--sample` takes only the cases that the tests take; `--known` prints the known failures too, and
what is not supported. Exit code 1 when a case fails that is not known to.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser

from _pytest.outcomes import Failed, Skipped

from tests.conformance.suites import SUITES, Tally, tally


def _tell(found: Tally, took_s: float, *, known: bool) -> None:
    for result in found.failed:
        print(f"  FAILED {result.name}: {result.reason}")
    if known:
        for result in found.known:
            print(f"  known  {result.name}: {result.reason}")
        for lacks, count in found.lacks.most_common():
            print(f"  lacks  {count:3} {lacks}")
    for entry in found.stale:
        print(f"  STALE  {entry.case} of known_failures.yaml does not fail")
    print(f"{found} ({took_s:.1f} s)", flush=True)


def main(arguments: list[str]) -> None:
    parser = ArgumentParser(prog="tests.conformance", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--known", action="store_true")
    options = parser.parse_args(arguments)
    failed = 0
    for name in options.suites or SUITES:
        began = time.monotonic()
        try:
            found = tally(name, everything=not options.sample)
        except (Skipped, Failed) as absent:
            print(f"{name}: {absent}")
            continue
        _tell(found, time.monotonic() - began, known=options.known)
        failed += len(found.failed)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main(sys.argv[1:])
