"""What the kernel knows of a process tree: CPU time, resident memory; and pinning to a core."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def start(command: Sequence[str], core: int, log: Path) -> subprocess.Popen[bytes]:
    """Runs `command` on one core; what it writes goes to `log`."""
    with log.open("ab") as sink:
        return subprocess.Popen(
            command,
            stdout=sink,
            stderr=sink,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += tree(int(child))
    return found


def cpu_s(pid: int) -> float:
    """User and system time of all threads of the tree, ended children that were waited for too."""
    ticks = 0
    for each in tree(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])  # utime stime cutime cstime
    return ticks / TICKS_PER_S


def rss_mb(pid: int) -> float:
    """Resident memory summed over the tree; pages that its processes share count in each."""
    kilobytes = 0
    for each in tree(pid):
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                kilobytes += int(line.split()[1])
    return kilobytes / 1024


def describe() -> dict[str, str]:
    """The machine, for the record beside the numbers."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }
