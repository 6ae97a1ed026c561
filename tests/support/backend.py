"""One program with a web page, a gRPC echo and lines over TCP: `python -m tests.support.backend WEB
GRPC TCP` serves on these ports of 127.0.0.1."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc.aio
import uvloop

BODY = b"x" * 600
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 600\r\ncontent-type: text/plain\r\n\r\n" + BODY


async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
    except (EOFError, OSError):
        writer.close()


async def lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            writer.write(b"line " + line)
    except OSError:
        pass
    writer.close()


async def unary(request: bytes, context: object) -> bytes:
    return request


async def stream(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def main(web_port: int, grpc_port: int, tcp_port: int) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.stream_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    await server.start()
    await asyncio.start_server(web, "127.0.0.1", web_port)
    await asyncio.start_server(lines, "127.0.0.1", tcp_port)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1:4])))
