"""The requests of a scenario: what is asked, apart from the protocol that carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envoy.service.auth.v3 import external_auth_pb2
from google.protobuf.json_format import ParseDict

from tests.support.client import chunked_body
from tests.support.http1 import Headers

Yaml = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """{method, path, version, headers, body, body_bytes, chunks, trailers, expect_continue}.

    A header's value may be a list, {bytes: N} a long one, {count: N} many of them; null leaves it
    out. `chunks` go as chunks or as DATA frames, with `chunk_delay_s` between them. `grpc` is a
    list of messages: a gRPC call. `tunnel` is what to say after 101, or 200 to CONNECT: after each
    text waits for its echo, then closes the connection or, with `cancel`, resets the stream;
    `upgrade` makes the upgrade request (or, over HTTP/2, the extended CONNECT). `repeat` asks so
    many times and compares how often which answer (status and body) came: within `tolerance` (of
    all), or, with `as: set`, which came at all.

    Over HTTP/2 only: `pseudo` adds or overrides pseudo-headers (null leaves one out); `cancel`
    resets the stream with this error when the upstream has the request; `end: false` never ends
    the request.
    """

    method: str
    path: str = "/"
    version: str = "1.1"
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    chunks: tuple[bytes, ...] | None = None
    chunk_delay_s: float = 0.0
    trailers: Headers = field(default_factory=list)
    expect_continue: bool = False
    tunnel: tuple[bytes, ...] | None = None
    upgrade: str = ""
    repeat: int = 0
    tolerance: float = 0.1
    as_set: bool = False
    pseudo: Mapping[str, str | None] = field(default_factory=dict)
    cancel: str = ""
    end: bool = True

    @property
    def head(self) -> bytes:
        """Of HTTP/1, as it is written."""
        fields = list(self.headers)
        if self.upgrade and self.method != "CONNECT":
            fields += [("connection", "upgrade"), ("upgrade", self.upgrade)]
        if self.chunks is not None:
            fields.append(("transfer-encoding", "chunked"))
        elif self.body:
            fields.append(("content-length", str(len(self.body))))
        if self.expect_continue:
            fields.append(("expect", "100-continue"))
        start = f"{self.method} {self.path} HTTP/{self.version}"
        lines = [start, *(f"{name}: {value}" for name, value in fields), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    @property
    def framed(self) -> list[bytes]:
        """The body of HTTP/1 in the pieces in which it is sent."""
        if self.chunks is None:
            return [self.body] if self.body else []
        if not self.chunk_delay_s:
            return [chunked_body(list(self.chunks), self.trailers)]
        pieces = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in self.chunks]
        return [*pieces, chunked_body([], self.trailers)]

    def fields(self, scheme: str) -> Headers:
        """The header block of HTTP/2."""
        headers = [(name.lower(), value) for name, value in self.headers]
        authority = next((value for name, value in headers if name == "host"), None)
        pseudo: dict[str, str | None] = {":method": self.method, ":scheme": scheme}
        pseudo |= {":authority": authority, ":path": self.path}
        if self.upgrade:
            pseudo |= {":method": "CONNECT", ":protocol": self.upgrade}
        elif self.method == "CONNECT":
            pseudo = {":method": "CONNECT", ":authority": authority}
        pseudo |= self.pseudo
        rest = [(name, value) for name, value in headers if name != "host"]
        return [(name, value) for name, value in pseudo.items() if value is not None] + rest


FIELDS = frozenset(
    {"method", "path", "version", "headers", "body", "body_bytes", "chunks", "chunk_delay_s"}
    | {"trailers", "expect_continue", "tunnel", "upgrade", "repeat", "tolerance", "as", "grpc"}
    | {"pseudo", "cancel", "end"}
)

AS_THEY_ARE = frozenset(
    {"path", "chunk_delay_s", "expect_continue", "upgrade", "repeat", "tolerance"}
    | {"pseudo", "cancel", "end"}
)


def read_request(item: str | Yaml) -> Request:
    """Of 'GET /path' or a mapping; ValueError for a field that does not exist."""
    if isinstance(item, str):
        method, path = item.split(" ")
        item = {"method": method, "path": path}
    if unknown := set(item) - FIELDS:
        raise ValueError(f"a request: unknown fields {sorted(unknown)}")
    headers = {"host": "weft.test", **item.get("headers", {})}
    chunks = item.get("chunks")
    if "grpc" in item:
        headers = {**headers, "content-type": "application/grpc", "te": "trailers"}
        chunks = [message_of(text).decode("latin-1") for text in item["grpc"]]
    same = {key: item[key] for key in AS_THEY_ARE & item.keys()}
    tunnel = item.get("tunnel")
    return Request(
        method=item.get("method", "POST" if "grpc" in item else "GET"),
        headers=headers_of(headers),
        body=item.get("body", "").encode("latin-1") or pattern(item.get("body_bytes", 0)),
        chunks=None if chunks is None else tuple(each.encode("latin-1") for each in chunks),
        trailers=headers_of(item.get("trailers", {})),
        tunnel=None if tunnel is None else tuple(each.encode("latin-1") for each in tunnel),
        as_set=item.get("as") == "set",
        version=str(item.get("version", "1.1")),
        **same,
    )


def headers_of(plan: Yaml) -> Headers:
    """{name: value} as a list; see `Request` for the values."""
    found: Headers = []
    for name, value in plan.items():
        if isinstance(value, bool):
            raise ValueError(f"header {name}: YAML reads it as {value}; quote it")
        found += [(name, str(each)) for each in _values(value) if each is not None]
    return found


def _values(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return ["x" * value["bytes"]] if "bytes" in value else list(range(value["count"]))
    return value if isinstance(value, list) else [value]


def check_response(plan: dict[str, Any]) -> str:
    """A serialized CheckResponse of its JSON form, a character for each byte."""
    message = ParseDict(plan, external_auth_pb2.CheckResponse())
    return message.SerializeToString().decode("latin-1")


def message_of(text: str) -> bytes:
    """A gRPC message: not compressed, its length, its bytes."""
    data = text.encode("latin-1")
    return b"\0" + len(data).to_bytes(4, "big") + data


def pattern(size: int) -> bytes:
    """`size` bytes that show where one is missing."""
    line = b"".join(b"%07d\n" % number for number in range(1024))
    return (line * (size // len(line) + 1))[:size]
