"""One request through the data path by a route table given as Envoy's JSON, in memory.

Tells what reached which upstream and what came back, as plain data. Must not know any suite.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from envoy.config.route.v3 import route_components_pb2
from google.protobuf import json_format

from protos.types import RDS
from proxy.config import decode_matchers, model
from proxy.config.decode import RESOURCES, decode
from proxy.config.yaml_message import Reader
from tests.support.playbook import Playbook, cluster, listener, snapshot

Pairs = list[tuple[str, str]]
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Routed:
    """cluster: '' if nothing went upstream; then request_line and upstream are empty, too."""

    status: int
    headers: Pairs
    cluster: str = ""
    request_line: str = ""
    upstream: Sequence[tuple[str, str]] = ()


def route_table(config: Any) -> model.RouteConfiguration:
    """Raises Rejected."""
    node: Any = yaml.compose(json.dumps(config), yaml.SafeLoader)
    kind = RESOURCES[RDS]
    message: Any = kind.message()
    Reader().read(node, message)
    if not message.name:
        message.name = "unnamed"
    found = decode(RDS, message.SerializeToString())
    assert isinstance(found, model.RouteConfiguration)
    return found


def header_matcher(config: Any) -> model.HeaderMatcher:
    """One `HeaderMatcher`."""
    message = json_format.ParseDict(config, route_components_pb2.HeaderMatcher())
    return decode_matchers.header_matcher(message, "")


class RoutedRequests:
    """All clusters of `names` have one host, which answers 200."""

    def __init__(
        self, table: model.RouteConfiguration, names: Iterable[str], **manager: Any
    ) -> None:
        fields = {"suppress_envoy_headers": False, **manager}
        self._snapshot = snapshot(
            [listener(table, **fields)], [cluster(name) for name in dict.fromkeys(names)]
        )

    def send(self, method: str, path: str, pairs: Pairs, body: bytes = b"") -> Routed:
        """`pairs` has the host."""
        with Playbook(config=self._snapshot) as play:
            client = play.client()
            client.down.info.remote = ("127.0.0.1", 5000)
            lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in pairs)]
            client >> "\r\n".join([*lines, "", ""]).encode("latin-1") + body
            if not play.openings:
                return Routed(*_read(client.transport.written))
            up = play.accept()
            line, _, rest = bytes(up.transport.written).partition(b"\r\n")
            name = up.connection.cluster.name
            up >> ANSWER
            status, headers = _read(client.transport.written)
            return Routed(status, headers, name, line.decode("latin-1"), _pairs(rest))


def _read(written: bytes | bytearray) -> tuple[int, Pairs]:
    head, _, rest = bytes(written).partition(b"\r\n")
    return int(head.split(b" ")[1]) if head else 0, _pairs(rest)


def _pairs(block: bytes) -> Pairs:
    lines = block.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    return [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
