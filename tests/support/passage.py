"""Bytes of a client through the whole HTTP side of the proxy in memory, and what reached upstream.

Two parsers that are not ours read what is forwarded: h11, which also answers each request, and
llhttp. They must find the same requests, or what was forwarded means different things to different
servers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h11
import httptools

from tests.support.playbook import Playbook, Up

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
MANY_TURNS = 200


@dataclass(slots=True)
class Passage:
    """statuses: final ones, as the client got them. requests: whole ones at the upstream, as
    (method, target, body). trouble: what no input may cause."""

    statuses: list[int] = field(default_factory=list)
    closed: bool = False
    requests: list[tuple[bytes, bytes, bytes]] = field(default_factory=list)
    partial: bool = False
    trouble: str = ""


class Passages:
    """One proxy for many clients: `send(raw)` is one connection, which then hangs up."""

    def __init__(self, **manager: Any) -> None:
        self._manager = manager

    def send(self, raw: bytes) -> Passage:
        passage = Passage()
        with Playbook(**self._manager) as play:
            client = play.client()
            client >> raw
            server = _Server(play)
            server.serve()
            self._tell(passage, bytes(client.transport.written))
            passage.closed = client.closed
            client.leave()
            server.serve()
            passage.requests = server.requests
            passage.partial = server.partial
            passage.trouble = server.trouble or passage.trouble
        return passage

    @staticmethod
    def _tell(passage: Passage, written: bytes) -> None:
        """The answers as h11 reads them."""
        client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        while written:
            try:
                # Any request: only how the answer ends matters, and no test sends HEAD.
                client.send(h11.Request(method="POST", target="/", headers=[("host", "x")]))
                client.send(h11.EndOfMessage())
                client.receive_data(written)
                status = _final(client)
            except h11.RemoteProtocolError as error:
                passage.trouble = f"h11 can't read the answer: {error}"
                return
            if not status:
                return
            passage.statuses.append(status)
            written = client.trailing_data[0]
            client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)


def _final(client: h11.Connection) -> int:
    """The status of the next whole response; 0 when there is none."""
    status = 0
    while True:
        event = client.next_event()
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.EndOfMessage):
            client.next_event()  # what follows is kept in trailing_data
            return status
        elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
            return 0


class _Server:
    """All upstream connections of a play: each request is answered when it is whole."""

    def __init__(self, play: Playbook) -> None:
        self._play = play
        self._served: list[tuple[Up, _Reader]] = []
        self.requests: list[tuple[bytes, bytes, bytes]] = []
        self.trouble = ""

    @property
    def partial(self) -> bool:
        return any(reader.begun for _, reader in self._served)

    def serve(self) -> None:
        for _ in range(MANY_TURNS):
            moved = False
            for opening in self._play.openings:
                self._served.append((opening.accept(), _Reader()))
                moved = True
            self._play.openings.clear()
            for up, reader in self._served:
                moved |= self._one(up, reader)
            if not moved:
                return
        self.trouble = "it never comes to rest"

    def _one(self, up: Up, reader: _Reader) -> bool:
        data = bytes(up.transport.written[reader.read :])
        if not data:
            return False
        try:
            whole = reader.feed(data)
        except (h11.RemoteProtocolError, httptools.HttpParserError, AssertionError) as error:
            self.trouble = self.trouble or f"what was forwarded can't be read: {error!r}"
            return False
        self.requests += whole
        for _ in whole:
            up >> OK
        return True


class _Reader:
    """One upstream connection, read by both parsers."""

    def __init__(self) -> None:
        self.read = 0
        self.begun = False
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        self._llhttp = _Llhttp()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes, bytes]]:
        """The requests that `data` completes; AssertionError when the parsers disagree."""
        self.read += len(data)
        self._llhttp.feed(data)
        self._h11.receive_data(data)
        found = []
        while (request := self._next()) is not None:
            found.append(request)
        told = self._llhttp.taken()
        assert told == found, f"h11 reads {found}, llhttp reads {told}"
        return found

    def _next(self) -> tuple[bytes, bytes, bytes] | None:
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Request):
                self.begun = True
                self._head, self._body = (event.method, event.target), bytearray()
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.begun = False
                self._answer()
                return (*self._head, bytes(self._body))
            else:
                return None

    def _answer(self) -> None:
        self._h11.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        self._h11.send(h11.EndOfMessage())
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()


class _Llhttp:
    """httptools calls the methods."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._target, self._body = bytearray(), bytearray()
        self._whole: list[tuple[bytes, bytes, bytes]] = []

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def taken(self) -> list[tuple[bytes, bytes, bytes]]:
        whole, self._whole = self._whole, []
        return whole

    def on_message_begin(self) -> None:
        self._target, self._body = bytearray(), bytearray()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method()
        self._whole.append((method, bytes(self._target), bytes(self._body)))
