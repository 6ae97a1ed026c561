"""What a handler sees of its call: grpc.aio's `ServicerContext`, in what is used of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

import grpc
import grpc.aio

from controlplane.rpc import codes
from controlplane.rpc.call import Call
from controlplane.rpc.heads import Given, Metadata

_EOF: Final[Any] = grpc.aio.EOF  # type: ignore[attr-defined]  # unknown to the stubs
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class Context:
    """call: for who would rather have the call itself, without waiting."""

    __slots__ = ("_code", "_details", "_method", "_trailing", "call")

    def __init__(self, call: Call) -> None:
        self.call = call
        self._method = call.method
        self._code: int = codes.OK
        self._details = ""
        self._trailing: Given = ()

    # ------------------------------------------------------------------ messages

    async def read(self) -> Any:
        """A request, or grpc.aio.EOF."""
        message = await self.call.read()
        return _EOF if message is None else self.decoded(message)

    async def write(self, message: Any) -> None:
        """Returns when there is room for another. Raises grpc.aio.UsageError of a call that is
        over."""
        if self.call.over:
            raise grpc.aio.UsageError("the call is over: nothing can be written")
        self.call.send(self.encoded(message))
        if self.call.full:
            await self.call.room()

    def decoded(self, message: bytes) -> Any:
        """Raises CallRefused."""
        deserialize = self._method.deserialize
        if deserialize is None:
            return message
        try:
            return deserialize(message)
        except Exception as error:
            reason = f"the request can't be read: {error}"
            raise codes.CallRefused(codes.INTERNAL, reason) from error

    def encoded(self, message: Any) -> bytes:
        serialize = self._method.serialize
        found: bytes = message if serialize is None else serialize(message)
        return found

    async def send_initial_metadata(self, initial_metadata: Given) -> None:
        self.call.begin(initial_metadata)

    # ------------------------------------------------------------------ the end

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: Given = (),
    ) -> NoReturn:
        """Raises grpc.aio.AbortError, always."""
        if code is grpc.StatusCode.OK:
            raise grpc.aio.UsageError("abort() with OK would tell the client that all went well")
        self.call.finish(code.value[0], details, (*self._trailing, *trailing_metadata))
        raise grpc.aio.AbortError("the call was aborted")

    def set_trailing_metadata(self, trailing_metadata: Given) -> None:
        self._trailing = tuple(trailing_metadata)

    def trailing_metadata(self) -> Given:
        return self._trailing

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code.value[0]

    def set_details(self, details: str) -> None:
        self._details = details

    def code(self) -> grpc.StatusCode:
        return _CODES[self._code]

    def details(self) -> str:
        return self._details

    @property
    def well(self) -> bool:
        """The handler has set no other status than OK."""
        return self._code == codes.OK

    def finish(self) -> None:
        """As the handler has set it."""
        self.call.finish(self._code, self._details, self._trailing)

    # ------------------------------------------------------------------ facts

    def invocation_metadata(self) -> Metadata:
        return self.call.metadata

    def peer(self) -> str:
        return self.call.peer()

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """x509_pem_cert and x509_pem_cert_chain, of a client that had to show its certificate."""
        return self.call.facts()

    def time_remaining(self) -> float | None:
        """Seconds; None without a deadline."""
        deadline = self.call.deadline
        if deadline is None:
            return None
        return max(0.0, deadline.when() - asyncio.get_running_loop().time())

    def believe(self, principal: str) -> None:
        """Whoever handles the call knows who the caller is: it is no stranger from now on."""
        self.call.believe(principal)

    def cancelled(self) -> bool:
        return self.call.cancelled

    def done(self) -> bool:
        return self.call.over

    def add_done_callback(self, callback: Callable[[Context], None]) -> None:
        if self.call.over:
            callback(self)
        else:
            self.call.on_over.append(lambda: callback(self))
