"""A steady stream of HTTP/1.1 requests over kept connections, in a thread of its own.

Nothing is tried again: what the peer refuses, cuts off or answers with another status than 200 is
a failed request. Only a connection that was announced as closing is replaced silently.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.wait import eventually

ANSWER_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """sent_s, came_s: by the monotonic clock. status 0: none came, and `text` says why."""

    sent_s: float
    came_s: float
    status: int
    text: str

    @property
    def version(self) -> str:
        """Of the messenger that answered; '' for a failed request."""
        return str(json.loads(self.text)["version"]) if self.status == 200 else ""


class Load:
    """`per_second` requests for `host` to 127.0.0.1:`port` until `stop()`; all answers are kept.

    Fewer when the peer is slower than its `connections` allow, never more."""

    def __init__(self, port: int, host: str, per_second: float = 200, connections: int = 8) -> None:
        self.answers: list[Answer] = []
        self._port = port
        self._request = f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()
        self._every_s = connections / per_second
        self._connections = connections
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def more(self, count: int) -> list[Answer]:
        """Waits for `count` answers to requests that are sent from now on, and returns those."""
        now = time.monotonic()
        return eventually(lambda: self._enough(now, count), 60, f"{count} answers")

    def _enough(self, since_s: float, count: int) -> list[Answer] | None:
        found = self.since(since_s)
        return found if len(found) >= count else None

    def since(self, when_s: float) -> list[Answer]:
        """The answers to all requests sent after `when_s`, in the order of sending."""
        found = [answer for answer in list(self.answers) if answer.sent_s >= when_s]
        return sorted(found, key=lambda answer: answer.sent_s)

    @property
    def failures(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status != 200]

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._connections):
                await asyncio.sleep(self._every_s / self._connections)
                group.create_task(self._ask_again_and_again(), name=f"connection {number}")

    async def _ask_again_and_again(self) -> None:
        wire: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        due_s = time.monotonic()
        while not self._stopped.is_set():
            sent_s = time.monotonic()
            try:
                async with asyncio.timeout(ANSWER_DEADLINE_S):
                    wire = wire or await asyncio.open_connection("127.0.0.1", self._port)
                    status, text, goes_on = await self._ask(*wire)
            except (OSError, EOFError, ValueError) as error:
                status, text, goes_on = 0, f"{type(error).__name__}: {error}", False
            self.answers.append(Answer(sent_s, time.monotonic(), status, text))
            if wire is not None and not goes_on:
                wire[1].close()
                wire = None
            due_s = max(due_s + self._every_s, time.monotonic() - self._every_s)
            await asyncio.sleep(due_s - time.monotonic())
        if wire is not None:
            wire[1].close()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, str, bool]:
        """Status, body, and whether the connection can be used again."""
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        start, *lines = head.split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines if line)
        body = await reader.readexactly(int(fields["content-length"]))
        return int(start.split(" ")[1]), body.decode(), fields.get("connection") != "close"


@contextmanager
def load(port: int, host: str, per_second: float = 200, connections: int = 8) -> Iterator[Load]:
    """A `Load` that flows while the block runs."""
    flowing = Load(port, host, per_second, connections)
    try:
        yield flowing
    finally:
        flowing.stop()


def versions(answers: list[Answer]) -> Counter[str]:
    """How many answers each version of the messenger gave."""
    return Counter(answer.version for answer in answers)
