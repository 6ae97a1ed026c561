"""Which proxy the processes of tests and benchmarks run: the compiled one, where it is up to date.

`make native` installs Weft into `.native` as a user's pip does, compiled. Tests that run in this
process judge the source; what they start is what users run.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / ".native"
SOURCES = ("proxy", "controlplane", "certs", "protos", "weft")


def why_not() -> str:
    """Why `.native` can't be used, '' if it can."""
    made = NATIVE / ".ready"
    if not made.exists():
        return "not built: `make native`"
    built = made.stat().st_mtime
    for tree in SOURCES:
        for path in (ROOT / tree).rglob("*.py"):
            if path.stat().st_mtime > built:
                return f"older than {path.relative_to(ROOT)}: `make native`"
    return ""


def use_if_ready() -> str:
    """What the programs that are started from now on will run, in words."""
    reason = why_not()
    if reason:
        return f"proxy in Python ({reason})"
    use()
    return "compiled proxy"


def use(environment: MutableMapping[str, str] = os.environ) -> None:
    """Programs that are started from now on import Weft from `.native`, the tests from here."""
    environment["PYTHONSAFEPATH"] = "1"  # or the working directory would come first
    environment["PYTHONPATH"] = os.pathsep.join((str(NATIVE), str(ROOT)))
