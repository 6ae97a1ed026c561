"""A program of the laptop mesh that knows the others by name: prints what they say, as JSON.

Their libraries find the sidecar in `http_proxy` and ask it to CONNECT.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from typing import Any
from urllib.parse import urlsplit

import grpc
import websockets

TIMEOUT_S = 30


def call() -> list[str]:
    channel: Any
    with grpc.insecure_channel("echo:9000") as channel:
        answer = channel.unary_unary("/test.Echo/Unary")(b"hello", timeout=TIMEOUT_S)
        stream = channel.stream_stream("/test.Echo/Stream")(iter([b"a", b"b"]), timeout=TIMEOUT_S)
        return [answer.decode(), *(message.decode() for message in stream)]


async def chat() -> str:
    async with websockets.connect("ws://chat:9000/", open_timeout=TIMEOUT_S) as connection:
        await connection.send("hello")
        return str(await connection.recv())


def connect(authority: str, line: bytes) -> list[str]:
    """The status of CONNECT, and the answer to `line` where there is a tunnel."""
    proxy = urlsplit(os.environ["http_proxy"])
    with socket.create_connection((proxy.hostname, proxy.port), TIMEOUT_S) as tunnel:
        tunnel.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        reader = tunnel.makefile("rb")
        status = reader.readline().split()[1].decode()
        while reader.readline() != b"\r\n":
            pass
        if status != "200":
            return [status]
        tunnel.sendall(line)
        return [status, reader.readline().decode()]


print(
    json.dumps(
        {
            "grpc": call(),
            "websocket": asyncio.run(chat()),
            "tcp": connect("lines:9000", b"hello\n"),
            "unknown": connect("nowhere:9000", b""),
        }
    ),
    flush=True,
)
