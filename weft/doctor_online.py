"""What `weft ca doctor` adds while a control plane runs: every certificate, bundle and clock of the
mesh, as the control plane knows them. It prints, and repairs nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from protos.gen.weft.v1 import doctor_pb2 as pb
from protos.gen.weft.v1 import doctor_pb2_grpc
from weft.admin_channel import admin_channel
from weft.state import StateDir

CALL_TIMEOUT_S = 30.0
_ANSWER_BYTES = 256 << 20
_NAMES = {
    "authority": "authority",
    "crl": "revocation list",
    "trust": "trusted root",
    "cross": "cross certificate",
    "serving": "serving certificate",
    "identity": "certificate",
    "served": "served certificate",
    "credential": "certificate of a Secret",
    "bundle": "trust bundle",
    "clock": "clock",
    "away": "away",
}


def ask(state_dir: Path) -> pb.Examination:
    """The findings of now, the worst first. UserError where nobody answers."""
    return asyncio.run(_ask(StateDir(state_dir)))


async def _ask(state: StateDir) -> pb.Examination:
    async with admin_channel(state, answer_bytes=_ANSWER_BYTES) as channel:
        stub = doctor_pb2_grpc.DoctorStub(channel)  # type: ignore[no-untyped-call]
        answer = await stub.Examine(pb.ExamineRequest(), timeout=CALL_TIMEOUT_S)
    assert isinstance(answer, pb.Examination)
    return answer


def rows(examination: pb.Examination) -> list[dict[str, Any]]:
    """One for each finding, fit for JSON; times as RFC 3339 writes them, None for none."""
    at = examination.at.ToMicroseconds() / 1e6
    return [_row(one, at) for one in examination.findings]


def _row(one: pb.Finding, at: float) -> dict[str, Any]:
    begins, ends = float(one.not_before.seconds), float(one.not_after.seconds)
    dated = one.HasField("not_after")
    return {
        "severity": one.severity,
        "what": one.kind,
        "where": one.where,
        "text": one.text,
        "used_by": one.used_by,
        "breaks": one.breaks,
        "serial": one.serial,
        "identity": one.identity,
        "issuer": one.issuer,
        "not_before": _rfc3339(begins) if dated else None,
        "not_after": _rfc3339(ends) if dated else None,
        "share_left": round(_share(begins, ends, at), 3) if dated else None,
        "clock_ahead_s": one.clock_ahead_s if one.HasField("clock_ahead_s") else None,
    }


def _share(begins: float, ends: float, at: float) -> float:
    return min(max((ends - at) / max(ends - begins, 1.0), 0.0), 1.0)


def as_json(offline: str, examination: pb.Examination) -> str:
    """One list: what there is on disk, then what there is in the mesh."""
    return json.dumps([*json.loads(offline), *rows(examination)], indent=2)


def report(examination: pb.Examination) -> str:
    """A paragraph for what is wrong or has an end that breaks something of all, a line else."""
    paragraphs = [_paragraph(one) for one in examination.findings]
    return "\n".join([*paragraphs, _first(examination.findings)])


def bad(examination: pb.Examination) -> bool:
    return any(one.severity != "ok" for one in examination.findings)


def _paragraph(one: pb.Finding) -> str:
    word = one.severity if one.severity == "ok" else one.severity.upper()
    lines = [f"{word:8}{_NAMES.get(one.kind, one.kind)} of {one.where}: {one.text}"]
    if one.severity != "ok" or one.kind in ("authority", "serving"):
        lines += [f"        used by: {one.used_by}"] if one.used_by else []
        lines += [f"        what breaks: {one.breaks}"] if one.breaks else []
    return "\n".join(lines)


def _first(findings: Sequence[pb.Finding]) -> str:
    """What breaks first, if nobody renews anything."""
    ends = [one for one in findings if one.HasField("not_after") and one.breaks]
    if not ends:
        return "nothing in the mesh ends"
    first = min(ends, key=lambda one: one.not_after.seconds)
    name = f"{_NAMES.get(first.kind, first.kind)} of {first.where}"
    return (
        f"if nothing were renewed, the first to break is the {name}, at "
        f"{_rfc3339(float(first.not_after.seconds))}: {first.breaks}"
    )


def _rfc3339(unix_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))
