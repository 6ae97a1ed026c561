"""What somebody saw, as plain data that is equal for equal behaviour.

What differs by nature from run to run is replaced by a placeholder (`<uuid>`, `<ms>`) or left out
(`date`). Must not know proxies or connections.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.differential.configure import LOG_FIELDS
from tests.differential.scenario import LogOrder
from tests.support.h2_wire import StreamSeen
from tests.support.http1 import Headers, Message

Seen = dict[str, Any]
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
LOG_LINE = re.compile(" ".join(f"{name}=(?P<{name}>.*?)" for name in LOG_FIELDS))
BODY_SHOWN_BYTES = 1024


def of_message(message: Message | None) -> Seen | None:
    """Start line, headers, body; trailers and an early end where there are any."""
    if message is None:
        return None
    seen: Seen = {
        "start": message.start,
        "headers": _headers(message.headers),
        "body": _body(message.body),
    }
    if message.trailers:
        seen["trailers"] = _headers(message.trailers)
    if message.reset:
        seen["reset"] = message.reset
    elif not message.complete:
        seen["complete"] = False
    return seen


def of_stream(stream: StreamSeen) -> Seen:
    """A response over HTTP/2; `before` are the 1xx."""
    head = stream.head
    fields = [field for field in head or [] if field[0] != ":status"]
    start = f"HTTP/2 {dict(head).get(':status')}" if head else ""
    message = Message(start, fields, bytes(stream.body), list(stream.trailers))
    message.complete, message.reset = stream.ended, stream.reset
    seen = of_message(message) or {}
    before = [dict(block).get(":status") for block in stream.blocks if block is not head]
    return {**seen, "before": before} if before else seen


def _headers(headers: Headers) -> dict[str, list[str]]:
    """A multiset by lower-case name; order between names and case are not compared."""
    seen: dict[str, list[str]] = {}
    for name, value in headers:
        if name.lower() != "date":
            seen.setdefault(name.lower(), []).append(_steady(name.lower(), value))
    return {name: sorted(values) for name, values in sorted(seen.items())}


def _steady(name: str, value: str) -> str:
    if name == "x-envoy-upstream-service-time":
        return "<ms>"
    if name == "x-forwarded-for":
        return value.replace(_own_address(), "127.0.0.1")
    if name == "x-envoy-expected-rq-timeout-ms" and value.isdigit():
        return f"<at most {-(-int(value) // 1000)} s>"  # what is left of it in a retry
    return "<uuid>" if name == "x-request-id" and UUID.fullmatch(value) else value


@cache
def _own_address() -> str:
    """Envoy writes the machine's first address where the peer is on loopback; Weft the peer's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: only asks which address would be used
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _body(body: bytes) -> str:
    if len(body) <= BODY_SHOWN_BYTES:
        return body.decode("latin-1")
    return f"{len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()}"


def counted(answers: Iterable[str], tolerance: float, *, as_set: bool = False) -> Seen:
    """How often each came, to be compared with a tolerance; or which came at all."""
    every = list(answers)
    if as_set:
        return {"set": sorted(set(every))}
    counts = {answer: every.count(answer) for answer in sorted(set(every))}
    return {"counts": counts, "of": len(every), "tolerance": tolerance}


def of_log(path: Path, order: LogOrder) -> list[Any]:
    """The lines of the log whose fields are always compared."""
    lines = _lines(path)
    matches = (LOG_LINE.fullmatch(line) for line in lines)
    found: list[Any] = [
        match.groupdict() if match else {"line": line}
        for match, line in zip(matches, lines, strict=True)
    ]
    if order == "exact":
        return found
    if order == "any":
        return sorted(found, key=lambda line: str(line.get("path")))
    texts = {f"{one.get('code')} {one.get('flags')}" for one in found}
    return [dict(zip(("code", "flags"), text.split(" "), strict=False)) for text in sorted(texts)]


def of_own_log(path: Path) -> list[Any]:
    """The lines of a log of the scenario's own, JSON read."""
    lines = _lines(path)
    return [json.loads(line) if line.startswith("{") else line for line in lines]


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8", "replace").splitlines() if path.exists() else []


def cleaned(tree: Any, suffix: str, steady: Mapping[str, str]) -> Any:
    """Without the names of the batch and with the scenario's own placeholders, in every text."""
    if isinstance(tree, dict):
        return {
            cleaned(key, suffix, steady): cleaned(value, suffix, steady)
            for key, value in tree.items()
        }
    if isinstance(tree, list):
        return [cleaned(each, suffix, steady) for each in tree]
    if not isinstance(tree, str):
        return tree
    text = tree.replace(suffix, "") if suffix else tree
    for pattern, word in steady.items():
        text = re.sub(pattern, word, text)
    return text
