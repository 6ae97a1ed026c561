"""llhttp's own tests, read off its markdown: how many messages, and the body of each.

What llhttp refuses without a lenient flag must not become a message; what it takes must have the
same bodies. Tests that switch lenience on, pause, or are about llhttp's callbacks are not asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.suite import Result
from tests.support.codec import read_requests, read_responses

CASE = re.compile(
    r"<!-- meta=(?P<meta>\{[^\n]*\}) -->\n```http\n(?P<http>(?:(?!```).)*)```\n"
    r"(?:(?!```)[^\n]*\n)*```log\n(?P<log>.*?)```",
    re.S,
)
HEADING = re.compile(r"^#{2,4} (.*)$", re.M)
HEADERS = re.compile(
    r"headers complete (?:method=\d+ |status=(?P<status>\d+) )v=\d/\d flags=(?P<flags>[0-9a-f]+)"
)
HAS_LENGTH = 0x8 | 0x20  # llhttp's F_CHUNKED and F_CONTENT_LENGTH
BODY = re.compile(r'off=\d+ len=\d+ span\[body\]=(?:(cr|lf)|"(.*)")')


@dataclass(frozen=True, slots=True)
class Told:
    """The bodies of the whole messages, and whether what followed was refused."""

    bodies: tuple[str, ...]
    refused: bool


def run(cases: Path) -> Iterator[Result]:
    for path in sorted(cases.glob("re*/*.md")):
        text = path.read_text("utf-8")
        for found in CASE.finditer(text):
            heading = HEADING.findall(text[: found.start()])[-1]
            meta = json.loads(found["meta"])
            if meta["type"] in ("request", "response") and not meta.keys() & {"mode", "skipBody"}:
                name = f"{path.parent.name}/{path.stem}: {heading}"
                yield _judge(name, meta["type"], _bytes(found["http"]), found["log"])


def _judge(name: str, kind: str, data: bytes, log: str) -> Result:
    wanted = _expected(log)
    try:
        told = _requests(data) if kind == "request" else _response(data)
    except Exception as error:
        return Result(name, f"{type(error).__name__}: {error}")
    if kind == "response":
        wanted = Told(wanted.bodies[:1], told.refused)  # more would answer nobody
    if wanted.refused:
        more = told.bodies != wanted.bodies[: len(told.bodies)]
        return Result(name, f"llhttp refuses it, Weft reads {told}" if more else "")
    return Result(name, "" if told == wanted else f"llhttp reads {wanted}, Weft {told}")


def _expected(log: str) -> Told:
    """1xx aside. The end of the data completes a message that has no length."""
    bodies: list[str] = []
    body, until_end, final = "", False, True
    for line in log.splitlines():
        if "message begin" in line:
            body, until_end, final = "", False, True
        if found := HEADERS.search(line):
            final = not found["status"] or found["status"][0] != "1"
            until_end = not int(found["flags"], 16) & HAS_LENGTH
        if found := BODY.match(line):
            body += {"cr": "\r", "lf": "\n"}.get(found[1]) or found[2]
        if line.endswith("message complete") and final:
            bodies.append(body)
            until_end = False
    return Told((*bodies, body) if until_end else tuple(bodies), "error code=" in log)


def _requests(data: bytes) -> Told:
    """What comes after `Connection: close` is refused in silence."""
    bodies: list[str] = []
    body, over = b"", False
    for event in read_requests([data]):
        if over or event[0] == "refused":
            return Told(tuple(bodies), True)
        if event[0] == "request":
            body = event[-1]
        elif event[0] == "end":
            bodies.append(body.decode("latin-1"))
        over = event[0] == "ways" and not event[1]
    return Told(tuple(bodies), False)


def _response(data: bytes) -> Told:
    events = read_responses([data], eof=True)
    bodies = [event[-1].decode("latin-1") for event in events if event[0] == "response"]
    whole = any(event[0] == "end" for event in events)
    refused = any(event[0] == "refused" for event in events)
    return Told(tuple(bodies) if whole else (), refused)


def _bytes(text: str) -> bytes:
    """As llhttp's own runner reads its markdown."""
    text = re.sub(r"\n\Z", "", text)
    text = text.replace("\\\n", "").replace("\n", "\r\n")
    for escape, byte in (("\\r", "\r"), ("\\n", "\n"), ("\\t", "\t"), ("\\f", "\f")):
        text = text.replace(escape, byte)
    text = re.sub(r"\\x([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text)
    return text.encode("utf-8")
