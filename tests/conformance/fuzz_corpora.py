"""Envoy's fuzz seeds: whatever they ask for, the answer is a model, a refusal or a 4xx.

No traceback and no second of thought. Configurations go through the decoders, header lists and
paths as requests through the whole proxy, bytes of connections through what looks at them first.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import health_check_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf import text_format
from google.protobuf.message import Message

from protos.types import CDS, LDS, RDS
from proxy.config import bootstrap
from proxy.config.bootstrap import decode_bootstrap
from proxy.config.decode import decode
from proxy.config.positions import BadConfig
from proxy.config.rejected import Rejected
from proxy.http.format_string import FormatError
from proxy.l7.format import compile_format
from proxy.wire import client_hello, http_preface
from tests.conformance.suite import Result
from tests.support.passage import Passages
from tests.support.text_proto import block, pairs, strings

HANG_S = 5.0  # CPU of a slow machine; the deepest of them takes about one second
M = TypeVar("M", bound=Message)


def run(cases: Path) -> Iterator[Result]:
    for path in sorted(cases.rglob("*_corpus/*")):
        if path.is_file():
            feed = FEEDS.get(path.parent.name, as_bytes)
            yield _timed(f"{path.parent.name}/{path.name}", feed, path.read_text("latin-1"))


def _timed(name: str, feed: Callable[[str], None], text: str) -> Result:
    began = time.process_time()
    try:
        feed(text)
    except (Rejected, BadConfig, FormatError, text_format.ParseError):
        pass  # an answer, and the right one for most of them
    except Exception as error:
        return Result(name, f"{type(error).__name__}: {error}"[:300])
    took_s = time.process_time() - began
    return Result(name, f"took {took_s:.1f} s of CPU" if took_s > HANG_S else "")


# --------------------------------------------------------------------------- configurations


def as_bootstrap(text: str) -> None:
    decode_bootstrap(_read(bootstrap_pb2.Bootstrap(), text))


def as_routes(text: str) -> None:
    config = _read(route_pb2.RouteConfiguration(name="routes"), block(text, "config") or "")
    decode(RDS, config.SerializeToString())


def as_header_edits(text: str) -> None:
    """`headers_to_add` and `headers_to_remove` as those of a RouteConfiguration."""
    text = text.replace("headers_to_", "response_headers_to_")
    config = _read(route_pb2.RouteConfiguration(name="routes"), text)
    decode(RDS, config.SerializeToString())


def as_health_check(text: str) -> None:
    check = _read(health_check_pb2.HealthCheck(), block(text, "health_check_config") or "")
    config = cluster_pb2.Cluster(name="a", health_checks=[check])
    decode(CDS, config.SerializeToString())


def as_http_filter(text: str) -> None:
    """The filter and the router in a connection manager."""
    chosen = _read(hcm_pb2.HttpFilter(), block(text, "config") or "")
    manager = hcm_pb2.HttpConnectionManager(stat_prefix="a", http_filters=[chosen])
    listener = listener_pb2.Listener(name="a")
    network = listener.filter_chains.add().filters.add(name="hcm")
    network.typed_config.Pack(manager)
    decode(LDS, listener.SerializeToString())


def as_format(text: str) -> None:
    for form in strings(text, "format"):
        compile_format(form.decode("latin-1"))


def as_json(text: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="latin-1") as file:
        file.write(text)
        file.flush()
        bootstrap.load(file.name)


def _read(message: M, text: str) -> M:
    """Fields that are not the message's are passed over: the seed's own type has more."""
    text_format.Parse(text, message, allow_unknown_field=True, allow_unknown_extension=True)
    return message


# --------------------------------------------------------------------------- requests


def as_request(text: str) -> None:
    """All its headers in one request, with its path and method where it has them."""
    fields = list(pairs(text))
    head = {name: value for name, value in fields if name.startswith(b":")}
    method, path = head.get(b":method", b"GET"), head.get(b":path", b"/")
    for found in strings(text, "path"):
        path = found
    lines = [method + b" " + path + b" HTTP/1.1", b"host: " + head.get(b":authority", b"weft.test")]
    lines += [name + b": " + value for name, value in fields if not name.startswith(b":")]
    _pass(b"\r\n".join([*lines, b"", b""]))


def as_lines(text: str) -> None:
    """Each line is a path."""
    for line in text.splitlines():
        _pass(b"GET " + line.encode("latin-1") + b" HTTP/1.1\r\nhost: weft.test\r\n\r\n")


def _pass(raw: bytes) -> None:
    passage = PROXY.send(raw)
    assert not passage.trouble, passage.trouble


# --------------------------------------------------------------------------- connections


def as_bytes(text: str) -> None:
    """What a connection says first; of a text of protobuf its `data`."""
    for data in (text.encode("latin-1"), *strings(text, "data")):
        client_hello.parse(data)
        http_preface.detect(data)
        _pass(data)


PROXY = Passages()
FEEDS: dict[str, Callable[[str], None]] = {
    "server_corpus": as_bootstrap,
    "route_corpus": as_routes,
    "header_parser_corpus": as_header_edits,
    "health_check_corpus": as_health_check,
    "filter_corpus": as_http_filter,
    "substitution_formatter_corpus": as_format,
    "json_corpus": as_json,
    "conn_manager_impl_corpus": as_request,
    "header_map_impl_corpus": as_request,
    "utility_corpus": as_request,
    "path_utility_corpus": as_request,
    "path_normalizer_corpus": as_request,
    "uri_template_corpus": as_lines,
    "parser_corpus": as_lines,
}
