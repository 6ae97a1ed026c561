"""Envoy's own checks of route tables (its router_check_tool): what becomes of each request.

The table of `*Failures*` has one whose expectations must not be met.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import yaml

from proxy import match
from proxy.compile.routes.place import RouteContext
from proxy.compile.routes.tables import CompiledTable
from proxy.config.model import HttpConnectionManager, RedirectAction
from proxy.connection import ConnectionInfo
from proxy.filters.api import Reply
from proxy.http.headers import Headers
from proxy.http.message import Request, Response
from proxy.l7 import extra_stats
from proxy.l7.entry import RouteEntry
from proxy.l7.resolve import resolve
from proxy.l7.stream import Stream
from proxy.route.redirect import redirect_target
from proxy.runtime import RuntimeValues
from proxy.stats import Stats
from tests.conformance.suite import Result
from tests.support.routed import header_matcher, route_table

ITSELF = redirect_target(RedirectAction())


class _Drawn(Random):
    """Draws the number that a check gives, of a hundred."""

    number = 0

    def random(self) -> float:
        return (self.number % 100 + 0.5) / 100


class _OneKey(RuntimeValues):
    """Only the named key counts, up to the drawn number and with it, as in Envoy's tool."""

    key = ""

    def __init__(self, random: _Drawn) -> None:
        super().__init__()
        self._random = random

    def fraction(self, key: str, numerator: int, denominator: int) -> tuple[int, int]:
        return int(key == self.key and self._random.number % 100 <= numerator), 1


def run(cases: Path) -> Iterator[Result]:
    folder = cases / "test" / "config"
    for path in sorted(folder.glob("*.golden.proto.json")):
        name = path.name.partition(".")[0]
        fails = name.endswith("Failures")
        routes = folder / f"{name.removesuffix('Failures')}.yaml"
        config = yaml.load(routes.read_text(), yaml.CSafeLoader)
        checks = _Checks(config)
        for number, check in enumerate(yaml.load(path.read_text(), yaml.CSafeLoader)["tests"]):
            try:
                reason = checks.judged(check)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
            if fails:
                reason = "" if reason else "meets what it must not meet"
            yield Result(f"{name}/{number} {check['test_name']}", reason)


class _AnyName(dict[str, Any]):
    """Every cluster is there, and is its name."""

    def get(self, key: str, default: Any = None) -> Any:
        return key


class _Checks:
    def __init__(self, config: Any) -> None:
        self._random = _Drawn()
        self._runtime = _OneKey(self._random)
        context = RouteContext(_AnyName(), self._random, self._runtime, Stats(), True)
        self._table = CompiledTable(route_table(config), context).table

    def judged(self, check: dict[str, Any]) -> str:
        """Why this is not as it should be; '' when it is."""
        given = check["input"]
        self._random.number = given.get("random_value", 0)
        self._runtime.key = given.get("runtime", "")
        found = _Found(self._stream(given))
        for what, wanted in check["validate"].items():
            reason = found.compared(what, wanted)
            if reason:
                return f"{what}: {reason}"
        return ""

    def _stream(self, given: dict[str, Any]) -> Stream:
        pairs = [(b"x-forwarded-proto", b"https" if given.get("ssl") else b"http")]
        pairs += [(b"x-envoy-internal", b"true")] if given.get("internal") else []
        pairs += [
            (each["key"].lower().encode(), each["value"].encode())
            for each in given.get("additional_request_headers", ())
        ]
        request = Request(
            given["method"].encode(),
            given["path"].encode(),
            given["authority"].encode(),
            Headers.of(pairs),
            scheme=pairs[0][1],
        )
        here = ("127.0.0.1", 80)
        down: Any = SimpleNamespace(info=ConnectionInfo(here, here, here), protocol="http1")
        config = HttpConnectionManager("check")
        manager: Any = SimpleNamespace(table=self._table, local_replies=None, config=config)
        stream = Stream(down, manager, request)
        for each in given.get("dynamic_metadata", ()):
            name = each["metadata_namespace"]
            if name not in stream.metadata or each.get("allow_overwrite"):
                stream.metadata[name] = each["value"]
        return stream


class _Found:
    """What became of a request."""

    def __init__(self, stream: Stream) -> None:
        self._request = stream.request
        self._response = Headers()
        self.told = dict.fromkeys(
            ("cluster_name", "virtual_host_name", "path_rewrite", "host_rewrite", "path_redirect",
             "virtual_cluster_name"), "",
        )  # fmt: skip
        self.told["code_redirect"] = "0"
        entry = stream.route = resolve(stream)
        if entry is None:
            return
        if entry.answer is not None:
            itself = ITSELF(stream.request)
            reply = entry.answer(stream)
            self._edited(entry, stream, reply)
            self.told["path_redirect"] = (dict(reply.headers).get(b"location") or itself).decode()
            self.told["code_redirect"] = str(reply.status)
            return
        self.told["virtual_host_name"] = entry.virtual_host
        chosen: Any = entry.choose(stream)
        self.told["cluster_name"] = chosen or ""
        extra_stats.set_up(stream, entry)
        named = [one.name for one in stream.counted if one.name]
        self.told["virtual_cluster_name"] = named[0] if named else ""
        entry.rewrite(stream)
        self.told["path_rewrite"] = stream.request.path.decode()
        self.told["host_rewrite"] = stream.request.authority.decode()
        self._edited(entry, stream, Reply(200))

    def _edited(self, entry: RouteEntry, stream: Stream, reply: Reply) -> None:
        """The tool says what a body is before it edits, where Envoy itself does after it."""
        length = b"%d" % len(reply.body)
        pairs = [(b"content-length", length), (b"content-type", b"text/plain")]
        response = Response(reply.status, Headers.of(pairs if reply.body else []))
        if entry.edit_response is not None:
            entry.edit_response(stream, response)
        self._response = response.headers

    def compared(self, what: str, wanted: Any) -> str:
        if what == "response_header_matches":
            tests = [(each, match.response_header(header_matcher(each))) for each in wanted]
            return "; ".join(str(each) for each, test in tests if not test(self._response))
        if what == "request_header_matches":
            tests_ = [(each, match.header(header_matcher(each))) for each in wanted]
            return "; ".join(str(each) for each, test in tests_ if not test(self._request))
        ours = self.told[what]
        return "" if ours == str(wanted) else f"{ours!r}, wanted {wanted!r}"
