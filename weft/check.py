"""`weft up --check`: one request through every entry point, and what came back."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from weft import loopback, stats
from weft.mesh import EntryPoint, LaptopMesh


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one entry point. crossed: the proxies whose request counters moved."""

    entry: EntryPoint
    status: int
    first_line: str
    crossed: tuple[str, ...]

    @property
    def good(self) -> bool:
        """An answer of the service itself: 4xx is one, 5xx and silence are not."""
        return 0 < self.status < 500

    def __str__(self) -> str:
        mark = "ok  " if self.good else "FAIL"
        status = str(self.status) if self.status else "no answer"
        across = f"  via {', '.join(self.crossed)}" if self.crossed else ""
        return f"{mark} {self.entry.url} {status}: {self.first_line}{across}"


async def ask(mesh: LaptopMesh, entry: EntryPoint) -> Finding:
    """GET / of one entry point."""
    before = await counts(mesh)
    reply = await loopback.get(entry.port, "/", f"{entry.host}:{entry.port}", timeout_s=20.0)
    after = await counts(mesh)
    crossed = tuple(name for name in after if after[name] > before.get(name, 0))
    text = title(reply.text) if reply.status else reply.reason
    return Finding(entry, reply.status, first_line(text), crossed)


async def counts(mesh: LaptopMesh) -> dict[str, int]:
    """Requests that each proxy has counted, by the name of its workload."""
    sidecars = mesh.sidecars()
    asked = (loopback.get(sidecar.admin_port, "/stats") for sidecar in sidecars)
    answers = await asyncio.gather(*asked)
    return {
        sidecar.name: stats.counts(answer.text).requests
        for sidecar, answer in zip(sidecars, answers, strict=True)
    }


def title(text: str) -> str:
    """The title of an HTML page, or the text itself."""
    match = re.search("<title>(.*?)</title>", text, re.DOTALL | re.IGNORECASE)
    return match.group(1) if match else text


def first_line(text: str, width: int = 72) -> str:
    """The first line with something on it, cut to `width`."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "(empty)")
    return line if len(line) <= width else line[: width - 1] + "…"
