"""Takes bodies and answers through the hooks of a stream's filters.

A stream comes here only if its chain has such hooks; else bodies pass as they came. What came of a
request's body before a filter's step was walked is kept, and passes its hook behind the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.filters.api import WAIT, Answer, Reply
from proxy.http.headers import Headers
from proxy.http.message import Response

if TYPE_CHECKING:
    from proxy.l7.stream import Stream


def behind_step(stream: Stream, answer: Answer) -> Answer:
    """The step at `at` has answered: its hook gets what is kept. A hook may answer for it."""
    if isinstance(answer, Reply) or stream.responded or stream.cluster is not None:
        return answer
    stream.hooking = True
    try:
        _catch_up(stream)
    finally:
        stream.hooking = False
    if stream.responded:
        return WAIT
    return _resumption(stream) if answer is WAIT and stream.resumption else answer


def _catch_up(stream: Stream) -> None:
    chain, at, done = stream.chain, stream.at, stream.request_done
    hook = chain.request_data[at] if chain.request_data else None
    if hook is not None and stream.body is not None:
        pieces = stream.body or ([b""] if done else [])
        last = len(pieces) - 1
        passed = [hook(stream, data, done and at == last) for at, data in enumerate(pieces)]
        keep(stream, [data for data in passed if data])
    on_end = chain.request_end[at] if chain.request_end else None
    if on_end is not None and done and not stream.responded:
        on_end(stream, stream.trailers)


def keep(stream: Stream, pieces: list[bytes]) -> None:
    stream.body = pieces
    stream.body_bytes = sum(map(len, pieces))


def _resumption(stream: Stream) -> Answer:
    """What a hook has said by `resume`."""
    answer, stream.resumption = stream.resumption[0], ()
    return answer


def request_data(stream: Stream, data: bytes, end: bool) -> bytes:
    """A piece of the body through the filters whose steps were walked."""
    stream.hooking = True
    try:
        for hook in stream.chain.request_data[: stream.at + 1]:
            if hook is not None and not stream.responded:
                data = hook(stream, data, end)
    finally:
        stream.hooking = False
    return data


def request_end(stream: Stream, trailers: Headers | None) -> None:
    stream.hooking = True
    try:
        for hook in stream.chain.request_end[: stream.at + 1]:
            if hook is not None and not stream.responded:
                hook(stream, trailers)
    finally:
        stream.hooking = False


def resume_if_asked(stream: Stream) -> None:
    """A hook has called `resume`; what it was given is in place now."""
    if stream.resumption and not stream.responded:
        stream.resume(_resumption(stream))


def response(stream: Stream, response: Response) -> Reply | None:
    """An answer's head through the filters; a Reply takes its place."""
    for hook in stream.chain.replies:
        reply = hook(stream, response)
        if reply is not None:
            return reply
    return None


def response_data(stream: Stream, data: bytes, end: bool) -> bytes:
    for hook in stream.chain.response_data:
        data = hook(stream, data, end)
    return data


def response_end(stream: Stream, trailers: Headers | None) -> None:
    for hook in stream.chain.response_end:
        hook(stream, trailers)
