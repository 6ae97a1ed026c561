"""Which handler serves which path: registered as with a server of grpc.aio.

A handler is gRPC's `RpcMethodHandler`, seen by what is used of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from controlplane.rpc.heads import Metadata


class Details(NamedTuple):
    """What a generic handler is asked by (gRPC's `HandlerCallDetails`)."""

    method: str
    invocation_metadata: Metadata


class Generic(Protocol):
    """gRPC's `GenericRpcHandler`."""

    def service(self, handler_call_details: Any, /) -> Any: ...


class Registry(Protocol):
    """What generated code and services need of a server, ours or grpc.aio's."""

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any, /) -> None: ...

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Any, /
    ) -> None: ...


class Method:
    """One method, of one of four forms. act: what is to be called with (request, context), or with
    (requests, context). (De)serializers are None where bytes pass as they are."""

    __slots__ = ("act", "deserialize", "request_streaming", "response_streaming", "serialize")

    def __init__(self, handler: Any) -> None:
        self.request_streaming: bool = handler.request_streaming
        self.response_streaming: bool = handler.response_streaming
        self.deserialize: Callable[[bytes], Any] | None = handler.request_deserializer
        self.serialize: Callable[[Any], bytes] | None = handler.response_serializer
        forms = ("unary", "stream")
        form = f"{forms[self.request_streaming]}_{forms[self.response_streaming]}"
        self.act: Callable[[Any, Any], Any] = getattr(handler, form)


class Methods:
    """In the order of their registration; the first who knows a path has it."""

    __slots__ = ("_generic", "_registered")

    def __init__(self) -> None:
        self._generic: list[Generic] = []
        self._registered: dict[str, Method] = {}

    def add_generic(self, handlers: Iterable[Generic]) -> None:
        self._generic += handlers

    def add_registered(self, service: str, handlers: Mapping[str, Any]) -> None:
        for name, handler in handlers.items():
            self._registered[f"/{service}/{name}"] = Method(handler)

    def find(self, path: str, metadata: Metadata) -> Method | None:
        found = self._registered.get(path)
        if found is not None:
            return found
        details = Details(path, metadata)
        for generic in self._generic:
            handler = generic.service(details)
            if handler is not None:
                return Method(handler)
        return None
