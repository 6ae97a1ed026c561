"""`LocalReplyConfig` into one function of a stream and its reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from proxy.compile.edits import response_edit
from proxy.config.model import HeaderEdits
from proxy.config.model.local_reply import LocalReplyConfig, ResponseMapper
from proxy.filters.api import Reply
from proxy.http.message import Response
from proxy.l7.local_body import BodyOf, compile_body
from proxy.l7.local_reply import Mapper
from proxy.l7.log_filter import compile_log_filter
from proxy.l7.stream import Stream
from proxy.runtime import RuntimeValues

Wants = Callable[[Stream], bool]
_Rule = tuple[Wants, Callable[[Stream, Response, Reply], Reply], BodyOf | None]


def local_replies(config: LocalReplyConfig, random: Random, runtime: RuntimeValues) -> Mapper:
    rules: list[_Rule] = [
        (
            compile_log_filter(mapper.filter, random, runtime),
            _change(mapper),
            compile_body(mapper.body_format) if mapper.body_format is not None else None,
        )
        for mapper in config.mappers
    ]
    default = compile_body(config.body_format) if config.body_format is not None else None

    def apply(stream: Stream, response: Response, reply: Reply) -> Reply:
        body_of = default
        stream.status = reply.status  # what a filter looks at
        for wants, change, own in rules:
            if wants(stream):
                reply = change(stream, response, reply)
                stream.status = reply.status
                body_of = own or default
                break
        return reply if body_of is None else body_of(stream, reply)

    return apply


def _change(mapper: ResponseMapper) -> Callable[[Stream, Response, Reply], Reply]:
    edit = response_edit([HeaderEdits(response_add=mapper.headers_to_add)])
    status, body = mapper.status, mapper.body

    def apply(stream: Stream, response: Response, reply: Reply) -> Reply:
        if edit is not None:
            edit(stream, response.headers)
        return replace(
            reply,
            status=reply.status if status is None else status,
            body=reply.body if body is None else body,
        )

    return apply
