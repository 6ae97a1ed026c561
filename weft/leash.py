"""Runs a program that must not outlive its parent: `python leash.py PARENT_PID PROGRAM ARGS...`.

Linux only in effect: PR_SET_PDEATHSIG survives exec, so the program itself dies with the parent,
even when that was killed with SIGKILL. Elsewhere it only runs the program. It is a script of its
own and not a preexec_fn, because forking a process with gRPC's threads in it is not safe; it
imports nothing of Weft, because every process of the mesh starts through it.
"""

from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before prctl: no signal will come
            os._exit(1)
    try:
        os.execvp(program, sys.argv[2:])
    except OSError as error:
        print(f"cannot run {program}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


main()
