"""Raw HTTP/1 requests of several corpora through the whole proxy, against what real proxies did.

Where all of them reject, the client gets an error or the end, and no whole request goes upstream.
Where all accept, as many requests go upstream as Envoy sent. Else never more than Envoy sent.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conformance.suite import Result
from tests.support.passage import Passage, Passages


def run(cases: Path) -> Iterator[Result]:
    for path in sorted(cases.glob("*.shared.json")):
        yield from judged(path)


def judged(path: Path) -> Iterator[Result]:
    """All cases of one file."""
    proxy = Passages()
    for number, case in enumerate(json.loads(path.read_text())["cases"]):
        name = f"{case['group']}/{number} {case['name']}"
        try:
            passage = proxy.send(base64.b64decode(case["raw_b64"]))
        except Exception as error:
            yield Result(name, f"{type(error).__name__}: {error}")
            continue
        yield Result(name, verdict(passage, case["reference"]))


def verdict(passage: Passage, reference: dict[str, Any]) -> str:
    """Why this is not as it should be; '' when it is."""
    if passage.trouble:
        return passage.trouble
    if any(b"smuggled" in target for _, target, _ in passage.requests):
        return f"smuggled: {passage.requests}"
    came, envoy = len(passage.requests), len(reference["envoy"]["upstreamRequests"])
    refused = passage.closed or any(status >= 400 for status in passage.statuses)
    if reference["consensus"] == "reject" and (came or not refused):
        return f"all reject it; {came} went upstream, the client got {passage.statuses}"
    if reference["consensus"] == "accept" and came != envoy:
        return f"all accept it; {came} of {envoy} went upstream, the client got {passage.statuses}"
    return f"{came} went upstream, Envoy sent {envoy}" if came > envoy else ""
