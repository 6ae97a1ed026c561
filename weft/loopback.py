"""Small questions to servers on this machine: does the port accept, what does the path answer."""

from __future__ import annotations

import asyncio
import http.client
from dataclasses import dataclass

from weft.bootstrap import LOOPBACK


@dataclass(frozen=True, slots=True)
class Reply:
    """status 0: there was no answer, and `reason` says why."""

    status: int
    reason: str
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


async def accepts(port: int, timeout_s: float = 1.0) -> bool:
    """Whether a server accepts connections at 127.0.0.1:port now."""
    try:
        connection = asyncio.open_connection(LOOPBACK, port)
        _, writer = await asyncio.wait_for(connection, timeout_s)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def get(port: int, path: str, host: str = "localhost", timeout_s: float = 5.0) -> Reply:
    """GET `path` from 127.0.0.1:port. Never raises for what the server does."""
    return await asyncio.to_thread(get_now, port, path, host, timeout_s)


def get_now(port: int, path: str, host: str = "localhost", timeout_s: float = 5.0) -> Reply:
    """`get` for who has no loop."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Host": host, "User-Agent": "weft"})
        answer = connection.getresponse()
        return Reply(answer.status, answer.reason, answer.read())
    except (OSError, http.client.HTTPException) as error:
        return Reply(0, str(error) or type(error).__name__)
    finally:
        connection.close()
