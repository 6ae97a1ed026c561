"""Envoy's HTTP/1 fuzz corpus: the raw cases judged as `http1_raw`; conversations end in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from proxy.wire.http_preface import detect
from tests.conformance.http1_raw import judged
from tests.conformance.suite import Result
from tests.support.passage import Passages
from tests.support.text_proto import strings

RECORDED = Path("http1-raw-diff") / "envoy-http1-corpus.json"


def run(cases: Path) -> Iterator[Result]:
    yield from judged(cases.parent / RECORDED)
    proxy = Passages()
    for path in sorted(cases.rglob("*_corpus/*")):
        if path.is_file() and "connection_corpus" not in str(path):
            yield _fed(path, proxy)


def _fed(path: Path, proxy: Passages) -> Result:
    """A conversation's downstream bytes, or what an inspector looks at: nothing may go wrong."""
    text = path.read_text("latin-1")
    try:
        if "http_inspector" in str(path):
            for data in strings(text, "data"):
                detect(data)
            return Result(path.name)
        raw = b"".join(strings(text, "downstream_send_bytes"))
        return Result(path.name, proxy.send(re.sub(rb"\n\Z", b"", raw)).trouble)
    except Exception as error:
        return Result(path.name, f"{type(error).__name__}: {error}")
