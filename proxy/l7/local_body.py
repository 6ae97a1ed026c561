"""The body of an answer of our own by a format string (`SubstitutionFormatString`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.config.model import BodyFormat
from proxy.filters.api import Reply
from proxy.l7.format import compile_body_text, compile_json

if TYPE_CHECKING:
    from proxy.l7.stream import Stream

BodyOf = Callable[["Stream", Reply], Reply]
TEXT = b"text/plain"
JSON = b"application/json"


def compile_body(config: BodyFormat) -> BodyOf:
    """A reply with the body made anew; `%LOCAL_REPLY_BODY%` in it is the one that it had."""
    if config.json_format is not None:
        made = compile_json(config.json_format)
    else:
        made = compile_body_text(config.text_format or "")
    kind = config.content_type.encode() or (TEXT if config.json_format is None else JSON)

    def apply(stream: Stream, reply: Reply) -> Reply:
        stream.local_body = reply.body
        return replace(reply, body=made(stream), content_type=kind)

    return apply
