"""Exchanges that were recorded from a real kube-apiserver, served again over HTTP (aiohttp).

The same request (method, path, token, accept, body) gets the same status, headers and body; a watch
gets its chunks, cut where they were. Asked again, it gets what it got the second time.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

_HOP_BY_HOP = frozenset({"content-length", "transfer-encoding", "connection"})


@dataclass(frozen=True)
class Exchange:
    name: str
    request: dict[str, Any]
    response: dict[str, Any]

    @property
    def is_watch(self) -> bool:
        return "chunks" in self.response

    @property
    def events(self) -> list[dict[str, Any]]:
        """Of a watch: its lines."""
        text = "".join(chunk["data"] for chunk in self.response["chunks"])
        return [json.loads(line) for line in text.splitlines() if line]

    @property
    def key(self) -> tuple[str, ...]:
        asked = self.request
        body = asked["body"]
        text = "" if body is None else _canonical(body)
        words = (asked["method"], asked["path"], asked["token"] or "", asked["accept"] or "", text)
        return tuple(words)


def exchanges(folder: Path) -> list[Exchange]:
    found = json.loads((folder / "exchanges.json").read_text("utf-8"))
    return [Exchange(one["name"], one["request"], one["response"]) for one in found]


@dataclass
class Replay:
    """`handle` serves them; `unknown` are requests that were never recorded."""

    recorded: list[Exchange]
    unknown: list[str] = field(default_factory=list)
    _waiting: dict[tuple[str, ...], list[Exchange]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one in self.recorded:
            self._waiting.setdefault(one.key, []).append(one)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        found = self._find(request, await request.text())
        if found is None:
            self.unknown.append(f"{request.method} {request.path_qs}")
            return web.Response(status=501, text="never recorded")
        said = found.response
        headers = {
            name: value
            for name, value in said["headers"].items()
            if name.lower() not in _HOP_BY_HOP
        }
        if found.is_watch:
            return await self._watch(request, found, headers)
        body = said["body"]
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=said["status"], body=text.encode(), headers=headers)

    def _find(self, request: web.Request, body: str) -> Exchange | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        accept = request.headers.get("accept", "")
        for text in (_canonical(body), ""):
            key = (request.method, request.raw_path, token, accept, text)
            if (waiting := self._waiting.get(key)) is not None:
                return waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return None

    async def _watch(
        self, request: web.Request, found: Exchange, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=found.response["status"], headers=headers)
        await response.prepare(request)
        for chunk in found.response["chunks"]:
            await response.write(chunk["data"].encode())
            await asyncio.sleep(0)
        await response.write_eof()
        return response


def _canonical(body: Any) -> str:
    """Of JSON as text, or as it was read; text that is none stays as it is."""
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            return str(body)
    return json.dumps(body, sort_keys=True)
