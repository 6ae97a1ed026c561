"""hpack-test-case: stories of header lists by 13 encoders. Ours must read each wire as it is told,
and what ours writes of a list, the hpack library must read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpack import Decoder as Judge

from proxy.http.h2.decoder import DEFAULT_TABLE_BYTES, Decoder
from proxy.http.h2.encoder import TRAILERS, Encoder
from proxy.http.h2.errors import BadBlock
from proxy.http.headers import Headers
from tests.conformance.suite import Result

LARGEST_TABLE = 1 << 20
Fields = list[tuple[bytes, bytes]]


def run(cases: Path, stride: int = 1) -> Iterator[Result]:
    for path in sorted(cases.glob("*/story_*.json"))[::stride]:
        story = json.loads(path.read_text("utf-8"))["cases"]
        try:
            reason = _read(story) or _written(story)
        except BadBlock as error:
            reason = f"refused: {error}"
        yield Result(f"{path.parent.name}/{path.stem}", reason)


def _fields(case: dict[str, Any]) -> Fields:
    return [(n.encode(), v.encode()) for field in case["headers"] for n, v in field.items()]


def _read(story: list[dict[str, Any]]) -> str:
    if "wire" not in story[0]:
        return ""  # raw data: only to be encoded
    sizes = [case.get("header_table_size") or DEFAULT_TABLE_BYTES for case in story]
    decoder = Decoder(max(sizes))
    for case in story:
        names, values = decoder.decode(bytes.fromhex(case["wire"]))
        if list(zip(names, values, strict=True)) != _fields(case):
            return f"number {case['seqno']} reads otherwise"
    return ""


def _written(story: list[dict[str, Any]]) -> str:
    encoder, judge, ours = Encoder(TRAILERS), Judge(max_header_list_size=LARGEST_TABLE), Decoder()
    for number, case in enumerate(story):
        # Fields of a connection of HTTP/1 are not passed on, nor is the host beside :authority.
        fields = [field for field in _fields(case) if field[0] not in NOT_WRITTEN]
        block = encoder.encode((), Headers.of(fields))
        found = [(name, value) for name, value in judge.decode(block, raw=True)]
        names, values = ours.decode(block)
        if not found == fields == list(zip(names, values, strict=True)):
            return f"number {number} is written otherwise"
    return ""


NOT_WRITTEN = (
    b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"host"
)  # fmt: skip
