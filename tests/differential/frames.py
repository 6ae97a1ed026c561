"""Raw HTTP/2 frames of a scenario, also such as no client may send.

`frames` of a conversation is a list; each item is one of
    preface: {SETTING: n}         # the magic and SETTINGS; without it first, nothing is said before
    headers: {":method": GET}     # or a list of [name, value]; stream: 1, end: true,
                                  # end_headers: false, pad: n
    continuation: {name: value}   # stream, end_headers
    data: text                    # stream, end, pad; data_bytes: n
    settings: {SETTING: n}        # numbers may be names or numbers; settings_ack: true
    window_update: n              # stream (default 0)
    reset: CANCEL                 # stream
    ping: 8 bytes                 # goaway: NO_ERROR with last: n
    priority: {depends_on: 0, weight: 16, exclusive: false}    # stream
    hex: "00 00 ..."              # bytes as they are
    wait: answer | headers | closed | goaway | pong | settings | quiet   # stream (default 1)
    times: n                      # with any of them: n times; `stream: next` is a new stream each
What is compared: each stream's answer (or how it was reset), the last GOAWAY, and whether the
connection closed, for which `closes: true` waits. At the end all streams that were ended are
waited for, and a PING tells that everything was read. Settings and pings of the proxy are
acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.differential.record import Seen, of_stream
from tests.differential.requests import headers_of, pattern
from tests.differential.scenario import Conversation
from tests.support.h2_wire import PREFACE, SETTINGS, H2Wire
from tests.support.http1 import Headers

Yaml = dict[str, Any]
DEADLINE_S = 20.0
LAST_PING = b"weft-end"


async def say_frames(wire: H2Wire, items: Sequence[Yaml], conversation: Conversation) -> Seen:
    """Says them in order; what was seen at the end."""
    speaker = _Speaker(wire)
    for item in items:
        for _ in range(item.get("times", 1)):
            await speaker.say(item)
            if wire.closed:
                break
    await _within(wire, speaker.asked, closes=bool(conversation.closes))
    streams = sorted(wire.streams.items())
    told = {str(number): of_stream(seen) for number, seen in streams if seen.blocks or seen.over}
    return {
        "streams": told,
        "goaway": wire.goaways[-1:],
        "closed": bool(wire.closed),
    }


async def _within(wire: H2Wire, asked: set[int], *, closes: bool) -> None:
    """Gives the proxy time to answer; what it did not do by then it does not do."""
    if not closes:
        wire.send(PingFrame(0, LAST_PING))

    def everything() -> bool:
        return LAST_PING in wire.pongs and all(wire.seen(stream).over for stream in asked)

    try:
        async with asyncio.timeout(DEADLINE_S):
            await wire.until(lambda: not closes and everything())
    except TimeoutError:
        pass


class _Speaker:
    def __init__(self, wire: H2Wire) -> None:
        self._wire = wire
        self._next_id = 1
        self.asked: set[int] = set()  # streams that we ended: an answer must come

    async def say(self, item: Yaml) -> None:
        if "wait" in item:
            await self._wait(item)
        elif "hex" in item:
            self._wire.send_bytes(bytes.fromhex(item["hex"]))
        elif "preface" in item:
            self._wire.send_bytes(PREFACE)
            self._wire.send(SettingsFrame(0, _settings(item["preface"] or {})))
        elif "reset" in item:
            self._wire.reset(self._stream(item), item["reset"])
        elif "goaway" in item:
            self._wire.goaway(item["goaway"], item.get("last", 0))
        else:
            self._wire.send(self._frame(item))
        await asyncio.sleep(0)

    def _frame(self, item: Yaml) -> Frame:
        stream = self._stream(item)
        if item.get("end"):
            self.asked.add(stream)
        if "headers" in item:
            return self._headers(HeadersFrame(stream), item["headers"], item)
        if "continuation" in item:
            return self._headers(ContinuationFrame(stream), item["continuation"], item)
        if "data" in item or "data_bytes" in item:
            data = item.get("data", "").encode("latin-1") or pattern(item.get("data_bytes", 0))
            frame = DataFrame(stream, data, flags=["END_STREAM"] if item.get("end") else [])
            _pad(frame, item)
            return frame
        if "settings" in item:
            return SettingsFrame(0, _settings(item["settings"]))
        if item.get("settings_ack"):
            return SettingsFrame(0, flags=["ACK"])
        if "window_update" in item:
            return WindowUpdateFrame(stream, window_increment=item["window_update"])
        if "ping" in item:
            return PingFrame(0, item["ping"].encode("latin-1"))
        return PriorityFrame(stream, **item["priority"])

    def _headers(
        self, frame: HeadersFrame | ContinuationFrame, plan: Yaml | Headers, item: Yaml
    ) -> Frame:
        fields = headers_of(plan) if isinstance(plan, dict) else [(str(n), str(v)) for n, v in plan]
        frame.data = self._wire.encoder.encode(fields)
        if item.get("end_headers", True):
            frame.flags.add("END_HEADERS")
        if isinstance(frame, HeadersFrame):
            self._wire.seen(frame.stream_id)
            if item.get("end"):
                frame.flags.add("END_STREAM")
            _pad(frame, item)
        return frame

    def _stream(self, item: Yaml) -> int:
        """`next` is the stream after the highest so far; only HEADERS opens one."""
        wanted = item.get("stream", 0 if item.keys() & {"window_update", "ping"} else 1)
        if wanted == "next":
            wanted, self._next_id = self._next_id, self._next_id + 2
        elif wanted == "last":
            wanted = self._next_id - 2
        elif "headers" in item:
            self._next_id = max(self._next_id, int(wanted) + 2)
        return int(wanted)

    async def _wait(self, item: Yaml) -> None:
        wire = self._wire
        stream = self._stream(item)
        if item["wait"] == "quiet":
            await asyncio.sleep(0.2)
            return
        conditions = {
            "answer": lambda: wire.seen(stream).over,
            "headers": lambda: wire.seen(stream).blocks or wire.seen(stream).over,
            "closed": lambda: False,
            "goaway": lambda: wire.goaways,
            "pong": lambda: wire.pongs,
            "settings": lambda: wire.settings,
        }
        try:
            async with asyncio.timeout(DEADLINE_S):
                await wire.until(conditions[item["wait"]])
        except TimeoutError:
            pass


def _settings(plan: Mapping[str | int, int]) -> dict[int, int]:
    return {SETTINGS[key] if isinstance(key, str) else key: value for key, value in plan.items()}


def _pad(frame: HeadersFrame | DataFrame, item: Yaml) -> None:
    if "pad" in item:
        frame.flags.add("PADDED")
        frame.pad_length = item["pad"]
