"""Paths through a connection manager's settings for normalising them, against a real Envoy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conformance.suite import Result
from tests.support.playbook import route, routes
from tests.support.routed import RoutedRequests


def run(cases: Path) -> Iterator[Result]:
    found = json.loads((cases / "cases.shared.json").read_text())
    for variant, settings in found["variants"].items():
        proxy = RoutedRequests(routes(route()), ["a"], **_fields(settings))
        for case in found["cases"]:
            name = f"{variant}: {case['path']}"
            try:
                reason = _judged(proxy, case["path"], case["results"][variant])
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
            yield Result(name, reason)


def _fields(settings: dict[str, Any]) -> dict[str, Any]:
    renamed = {"path_with_escaped_slashes_action": "escaped_slashes"}
    return {renamed.get(name, name): value for name, value in settings.items()}


def _judged(proxy: RoutedRequests, path: str, wanted: dict[str, Any]) -> str:
    found = proxy.send("GET", path, [("host", "a")])
    parts = found.request_line.split(" ")
    ours = (found.status, dict(found.headers).get("location"), " ".join(parts[1:-1]) or None)
    theirs = (wanted["status"], wanted.get("location"), wanted.get("upstreamPath"))
    return "" if ours == theirs else f"{ours}, Envoy {theirs}"
