"""`python -m tests.fuzz h1|h2|hpack --inputs N [--seed S]`: N mutated inputs; prints what it did.

The mutations are ours (`tests.fuzz.mutate`), thousands of inputs a second. `--atheris` (which
is to be installed by hand) lets libFuzzer guide them by coverage instead, much slower, with an
optional corpus folder. The first failure is printed with its input in hexadecimal digits, and the
exit code is 1.
"""

from __future__ import annotations

import sys
import time
import traceback
from argparse import ArgumentParser, Namespace
from random import Random
from resource import RUSAGE_SELF, getrusage

from tests.fuzz.mutate import Mutator

# What coverage is measured of: not imported before libFuzzer can see to it.
MODULES = {"h1": "proxy.http.h1", "h2": "proxy.http.h2", "hpack": "proxy.http.h2"}
HANG_S = 1.0
REPORT_EVERY_S = 30.0


def main(arguments: list[str]) -> None:
    parser = ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=MODULES)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--atheris", action="store_true")
    parser.add_argument("corpus", nargs="*")
    options = parser.parse_intermixed_args(arguments)
    if options.atheris:
        _guided(options)
    else:
        sys.exit(_mutated(options))


def _mutated(options: Namespace) -> int:
    from tests.fuzz.targets import TARGETS

    target = TARGETS[options.target]
    random = Random(options.seed)
    mutator = Mutator(target.seeds, target.words, random)
    began = told = time.monotonic()
    slowest_s = 0.0
    for number in range(options.inputs):
        data = mutator.next()
        at = random.randrange(len(data) + 1)
        before = time.process_time()
        try:
            mutator.learn(data, target.check(data, at))
        except Exception:
            print(f"input {number} of seed {options.seed}, split at {at}: {data.hex()}")
            traceback.print_exc()
            return 1
        slowest_s = max(slowest_s, time.process_time() - before)
        now = time.monotonic()
        if now - told > REPORT_EVERY_S:
            told = now
            print(f"{number + 1} inputs, {(number + 1) / (now - began):.0f}/s", flush=True)
    took_s = time.monotonic() - began
    grown = getrusage(RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{options.target}: {options.inputs} inputs, seed {options.seed}, {took_s:.0f} s, "
        f"{len(mutator.seeds) - len(target.seeds)} kinds of answer, slowest {slowest_s * 1000:.0f} "
        f"ms of CPU, peak {grown} MB"
    )
    return int(slowest_s > HANG_S)


def _guided(options: Namespace) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris  # type: ignore[import-untyped]

    with atheris.instrument_imports(include=[MODULES[options.target]]):
        from tests.fuzz import targets
    target = targets.TARGETS[options.target]

    def one(data: bytes) -> None:
        target.check(data[1:], data[0] % max(1, len(data)) if data else 0)

    runs = [f"-runs={options.inputs}", f"-seed={options.seed}", "-max_len=4096", "-timeout=5"]
    atheris.Setup([sys.argv[0], *runs, *options.corpus], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
