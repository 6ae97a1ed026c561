"""http2-frame-test-case: single frames, good ones and bad ones. What of a good one ours reads and
writes must be as told; a bad one must end the connection (or reset a stream) with a listed code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proxy.http.h2 import ClientConnection, ConnectionFailed, Options, errors, frames
from proxy.http.headers import Headers
from proxy.http.message import Request
from tests.conformance.suite import Result
from tests.support.h2_codec import Listener, Server, split_frames


def run(cases: Path) -> Iterator[Result]:
    for path in sorted(cases.glob("*/*.json")):
        case = json.loads(path.read_text("utf-8"))
        wire = bytes.fromhex(case["wire"])
        reason = _good(wire, case["frame"]) if case["frame"] else _bad(wire, case["error"])
        yield Result(f"{path.parent.name}/{path.stem}", reason)


def _good(wire: bytes, told: dict[str, Any]) -> str:
    """Its head, and for the kinds that we write, the same bytes from what it says."""
    [(kind, flags, stream_id, payload)] = split_frames(wire)
    found = {"type": kind, "flags": flags, "stream_identifier": stream_id, "length": len(payload)}
    wanted = {name: told[name] for name in found}
    if found != wanted:
        return f"{found} instead of {wanted}"
    again = _written(kind, flags, stream_id, told["frame_payload"])
    return "" if again in (None, wire) else f"written as {again!r}"


def _written(kind: int, flags: int, stream_id: int, said: dict[str, Any]) -> bytes | None:
    if kind == frames.SETTINGS:
        return frames.settings([(number, value) for number, value in said["settings"]])
    if kind == frames.WINDOW_UPDATE:
        return frames.window_update(stream_id, said["window_size_increment"])
    if kind == frames.RST_STREAM:
        return frames.rst_stream(stream_id, said["error_code"])
    if kind == frames.GOAWAY:
        debug = said["additional_debug_data"].encode()
        return frames.goaway(said["last_stream_id"], said["error_code"], debug)
    if kind == frames.PING:
        return frames.frame(kind, flags, stream_id, said["opaque_data"].encode())
    return None  # we never write such a frame, or never with padding or priority


def _bad(wire: bytes, codes: list[int]) -> str:
    [(kind, _, stream_id, _)] = split_frames(wire)
    if kind == frames.PUSH_PROMISE:
        return _pushed(wire)
    server = Server()
    if stream_id & 1 and kind != frames.HEADERS:  # its form is at fault, not the stream's state
        server.fed(frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, POST))
    answer = server.fed(wire)
    found = [
        int.from_bytes(said, "big") for what, _, _, said in answer if what == frames.RST_STREAM
    ]
    if server.failed is not None:
        found.append(server.failed.code)
    if not found:
        return "not refused"
    return "" if set(found) <= set(codes) else ", ".join(map(errors.error_name, found))


POST = b"\x83\x86\x84\x41\x01a"


def _pushed(wire: bytes) -> str:
    """We never allow a push, so each is a PROTOCOL_ERROR, whatever else is wrong with it."""
    client = ClientConnection(Listener(), Options(), lambda _: None)
    client.start()
    client.feed(frames.settings([]))
    head = Request(b"GET", b"/", b"a", Headers())
    client.send_head(client.new_stream(), head, True)
    try:
        client.feed(wire)
    except ConnectionFailed as error:
        return "" if error.code == errors.PROTOCOL_ERROR else errors.error_name(error.code)
    return "not refused"
