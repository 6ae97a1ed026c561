"""Route tables of Envoy's unit tests, with what a real Envoy did to each request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proxy.config.rejected import Rejected
from tests.conformance.suite import Result
from tests.support.routed import Pairs, Routed, RoutedRequests, route_table

UNSUPPORTED = "not supported"


def run(cases: Path) -> Iterator[Result]:
    for case in json.loads((cases / "cases.shared.json").read_text()):
        name = f"{case['source']}/{case['variant']}"
        try:
            reason = _judged(case)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        yield Result(name, reason)


def _judged(case: dict[str, Any]) -> str:
    """Why this is not as it should be; '' when it is."""
    try:
        table = route_table(case["routeConfiguration"])
    except Rejected as error:
        unknown = "registered implementation" in case.get("message", "")
        if case["envoy"] == "reject" or unknown:
            return ""
        return f"Envoy accepts it, Weft says {error}"
    if case["envoy"] == "reject":
        return f"Envoy refuses it: {case.get('message', '')[:80]}"
    proxy = RoutedRequests(table, case["clusters"])
    wrong = (_compared(proxy, exchange) for exchange in case.get("exchanges", ()))
    return "; ".join(why for why in wrong if why)


def _compared(proxy: RoutedRequests, exchange: dict[str, Any]) -> str:
    given = dict(exchange["request"])
    method, path = given.pop(":method", "GET"), given.pop(":path")
    pairs = [("host", given.pop(":authority", "")), *given.items()]
    found = proxy.send(method, path, pairs)
    wanted = exchange["result"]
    upstream = wanted.get("upstream") or {}
    if (able := exchange.get("nondeterministicCluster")) is not None:
        return "" if found.cluster in able else f"{path}: {found.cluster} is not one of {able}"
    if (difference := _difference(found, wanted, upstream)) != "":
        return f"{method} {path}: {difference}"
    return ""


def _difference(found: Routed, wanted: dict[str, Any], upstream: dict[str, Any]) -> str:
    for what, ours, theirs in (
        ("status", found.status, wanted["status"]),
        ("cluster", found.cluster, upstream.get("cluster", "")),
        ("request line", found.request_line, upstream.get("requestLine", "")),
        ("upstream headers", _kept(found.upstream), _kept(upstream.get("headers", ()))),
        ("headers", _kept(found.headers), _kept(wanted.get("responseHeaders", ()))),
    ):
        if ours != theirs:
            return f"{what} {ours}, Envoy {theirs}"
    return ""


# Of the connection, or of the moment; and what the answering program of the recording sent.
_ASIDE = ("date", "server", "connection", "content-length", "content-type", "x-request-id")


def _kept(pairs: Any) -> Pairs:
    """What is compared; the order of different names means nothing (RFC 9110 section 5.3)."""
    found = [(name, value) for name, value in pairs if name not in _ASIDE]
    return sorted((n, v) for n, v in found if n != "x-envoy-upstream-service-time")
