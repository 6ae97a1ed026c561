"""A gRPC method that answers with what it was sent, and a call of it."""

from __future__ import annotations

from typing import Any

from grpc import GenericRpcHandler, RpcError, aio, unary_unary_rpc_method_handler

METHOD = "/test.Echo/Say"
_OPTIONS = (("grpc.enable_http_proxy", 0),)


class _Echo(GenericRpcHandler):  # type: ignore[type-arg]
    def service(self, details: Any) -> Any:
        return unary_unary_rpc_method_handler(self._say) if details.method == METHOD else None

    async def _say(self, request: bytes, context: Any) -> bytes:
        return b"again: " + request


async def serve(address: str, port: int) -> aio.Server:
    server = aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((_Echo(),))
    assert server.add_insecure_port(f"{address}:{port}") == port
    await server.start()
    return server


async def say(address: str, port: int, within_s: float) -> str:
    """The answer, or the name of the status."""
    async with aio.insecure_channel(f"{address}:{port}", options=_OPTIONS) as channel:
        method = channel.unary_unary(METHOD, bytes, bytes)
        call = method(b"hello", timeout=within_s)
        try:
            return bytes(await call).decode()
        except RpcError:
            return str((await call.code()).name)
