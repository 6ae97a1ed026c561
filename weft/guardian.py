"""Ends the process groups of a parent that has died: `python guardian.py` reads its stdin.

Each line is `+GROUP` or `-GROUP`. When the pipe closes, because the parent has ended in whatever
way, the groups that are left get SIGTERM and, two seconds later, SIGKILL. So even the grandchildren
of a `weft up` that was killed with SIGKILL (the `sh -c` kind) do not outlive it. Like `leash` it is
a script that imports nothing of Weft.
"""

from __future__ import annotations

import os
import signal
import sys
import time

GRACE_S = 2.0


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when the pipe closes, not before
    groups: set[int] = set()
    for line in sys.stdin:
        if line[0] == "+":
            groups.add(int(line[1:]))
        else:
            groups.discard(int(line[1:]))
    if groups:
        _send(groups, signal.SIGTERM)
        time.sleep(GRACE_S)
        _send(groups, signal.SIGKILL)


def _send(groups: set[int], number: signal.Signals) -> None:
    for group in groups:
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):  # gone, or on macOS a zombie
            pass


main()
