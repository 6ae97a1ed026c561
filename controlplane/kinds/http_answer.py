"""What a VirtualService answers at once, and how it rewrites what it sends on."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Literal

from controlplane.kinds.decoders import PORT, enum, integer, line, text
from controlplane.kinds.regex import fault_of
from controlplane.kinds.schema import Place, Record, obj, optional, record, required
from controlplane.kinds.yaml_nodes import Node

MAX_BODY_BYTES = 1024 * 1024
"""Istio's limit of a directResponse's body."""


@record
class HttpRedirect(Record):
    uri: str = optional(line, "")
    prefix_rewrite: str = optional(line, "")
    authority: str = optional(line, "")
    scheme: Literal["", "http", "https"] = optional(enum("http", "https"), "")
    port: int | None = optional(PORT)
    derive_port: Literal["", "FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] = optional(
        enum("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"), ""
    )
    redirect_code: int = optional(integer(301, 308), 301)

    def check(self) -> Iterator[tuple[str, str]]:
        if self.redirect_code not in (301, 302, 303, 307, 308):
            yield "redirectCode", f"expected 301, 302, 303, 307 or 308, got {self.redirect_code}"
        path = self.uri or self.prefix_rewrite
        if not (path or self.authority or self.scheme or self.port or self.derive_port):
            yield "", "needs a uri, authority, scheme or port"
        if self.uri and self.prefix_rewrite:
            yield "prefixRewrite", "and uri exclude each other"
        if self.port is not None and self.derive_port:
            yield "derivePort", "and port exclude each other"


def _base64(node: Node, place: Place) -> bytes:
    value = text(node, place)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise place.refuse(node, "bytes in base64") from None


@record
class HttpBody(Record):
    string: str = optional(text, "")
    bytes_: bytes = optional(_base64, b"", key="bytes")

    def check(self) -> Iterator[tuple[str, str]]:
        if self.string and self.bytes_:
            yield "bytes", "and string exclude each other"
        if len(self.string.encode()) + len(self.bytes_) > MAX_BODY_BYTES:
            yield "", f"more than {MAX_BODY_BYTES} bytes"


@record
class HttpDirectResponse(Record):
    status: int = required(integer(200, 599))
    body: HttpBody | None = optional(obj(HttpBody))


@record
class RegexRewrite(Record):
    match: str = required(line)
    rewrite: str = required(line)

    def check(self) -> Iterator[tuple[str, str]]:
        for key in ("match", "rewrite"):
            if not getattr(self, key):
                yield key, "must not be empty"
        if fault := fault_of(self.match):
            yield "match", fault
        for group in re.findall(r"\\(.)", self.rewrite):
            if not group.isdigit() and group != "\\":
                yield "rewrite", f"'\\{group}' is no group of the match; write '\\1' or '\\\\'"


@record
class HttpRewrite(Record):
    uri: str = optional(line, "")
    authority: str = optional(line, "")
    uri_regex_rewrite: RegexRewrite | None = optional(obj(RegexRewrite))

    def check(self) -> Iterator[tuple[str, str]]:
        if self.uri and self.uri_regex_rewrite is not None:
            yield "uriRegexRewrite", "and uri exclude each other"
        if not (self.uri or self.authority or self.uri_regex_rewrite):
            yield "", "needs a uri, uriRegexRewrite or an authority"
