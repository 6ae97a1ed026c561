"""Keeps one ADS stream open: connect, subscribe, answer; and again, with back-off, when it ends.

It knows when to speak, not what: a machine makes the requests, and `Config` decides on responses.
One line is logged when the control plane is lost and one when it is back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from proxy.config.model import AdsConfig
from proxy.http.grpc import RpcError
from proxy.tasks import spawn
from proxy.xds.channel import AdsStream, StreamEnded, open_stream
from proxy.xds.target import ChannelTls, Target
from proxy.xds.update import Machine, Update

if TYPE_CHECKING:
    from proxy.rpc.call import Call

log = logging.getLogger("weft.xds")

FIRST_BACK_OFF_S = 0.1
LAST_BACK_OFF_S = 5.0


class Config(Protocol):
    """Whose configuration it is."""

    def subscriptions(self) -> Mapping[str, frozenset[str] | None]: ...

    def versions(self, type_url: str) -> Mapping[str, str]: ...

    async def take(self, update: Update) -> Mapping[str, str]:
        """Applies a response; answers {resource: why} of what was refused."""

    def may_answer(self, type_url: str) -> bool:
        """False while what came has yet to become warm."""

    def refused(self) -> None:
        """A stream was opened and ended without any answer."""


def back_off_s(failures: int, jitter: float) -> float:
    """The wait after so many failures in a row (1, 2 ...): 0.1 s doubled up to 5 s, and from it
    up to half is taken off by `jitter` (0 up to 1)."""
    full_s = min(LAST_BACK_OFF_S, FIRST_BACK_OFF_S * 2.0 ** min(failures - 1, 10))
    return full_s * (1.0 - 0.5 * jitter)


class Session:
    """One per proxy. `credentials` is awaited before each stream: it may wait for an identity."""

    def __init__(
        self,
        target: Target,
        ads: AdsConfig,
        machine: Machine,
        config: Config,
        credentials: Callable[[], Any],
        jitter: Callable[[], float],
    ) -> None:
        self._target = target
        self._ads = ads
        self._machine = machine
        self._config = config
        self._credentials = credentials
        self._jitter = jitter
        self._wake = asyncio.Event()
        self._renew = False
        self._owed: list[tuple[Update, Mapping[str, str]]] = []
        self._lost_at_s: float | None = None
        self._stream: AdsStream | None = None
        self._address = ""
        self.connected = False
        self.control_plane = ""
        self.uses_own_certificate = target.tls is not None and bool(target.tls.own_certificate)

    def resubscribe(self) -> None:
        """What is wanted may have changed."""
        self._wake.set()

    def reconnect(self) -> None:
        """Our certificate is new: the stream goes on with it, at once."""
        self._renew = True
        self._wake.set()

    def beside(self, address: str, path: str) -> Call | None:
        """A call on the stream's connection, if that goes to this address and shows our own
        certificate; None if not."""
        if not self.connected or not self.uses_own_certificate or self._stream is None:
            return None
        try:
            return self._stream.beside(path) if address == self._address else None
        except RpcError:
            return None  # it is about to be found lost

    async def run(self) -> None:
        """Until cancelled."""
        failures = attempt = 0
        while True:
            address = self._target.addresses[attempt % len(self._target.addresses)]
            tls: ChannelTls | None = await self._credentials()
            self._renew = False
            attempt += 1
            stream: AdsStream | None = None
            try:
                stream = self._stream = await open_stream(address, tls, self._ads)
                self._address = address
                await self._follow(stream, address)
                failures = 0
                continue  # only to take a new certificate
            except StreamEnded as error:
                failures = 1 if self.connected else failures + 1
                self._lost(address, error)
                if stream is not None and not self.connected:
                    self._config.refused()
            except asyncio.CancelledError:
                if stream is not None:  # we are stopping: nobody need wait for us to come back
                    await stream.finish()
                raise
            finally:
                self.connected = False
                self._stream = None
                if stream is not None:
                    stream.close()
            await asyncio.sleep(back_off_s(failures, self._jitter()))

    def _lost(self, address: str, error: StreamEnded) -> None:
        if self._lost_at_s is None:
            self._lost_at_s = time.monotonic()
            what = "lost" if self.connected else "cannot be reached"
            log.warning(
                "control plane %s %s (%s); going on with what is here", address, what, error
            )

    def _answered(self, address: str, response: Any) -> None:
        if self.connected:
            return
        self.connected = True
        self.control_plane = response.control_plane.identifier or address
        if self._lost_at_s is None:
            log.info("connected to control plane %s", self.control_plane)
        else:
            away_s = time.monotonic() - self._lost_at_s
            log.info("connected to control plane %s again, %.1f s", self.control_plane, away_s)
        self._lost_at_s = None

    async def _follow(self, stream: AdsStream, address: str) -> None:
        """Returns only when the certificate was renewed; StreamEnded otherwise."""
        self._machine.open()
        self._owed.clear()
        await self._subscribe(stream)
        reading = spawn(_read(stream), "xds read")
        waking = spawn(self._wake.wait(), "xds wake")
        try:
            while not self._renew:
                await asyncio.wait((reading, waking), return_when=asyncio.FIRST_COMPLETED)
                if waking.done():
                    self._wake.clear()
                    waking = spawn(self._wake.wait(), "xds wake")
                    await self._acknowledge(stream)
                    await self._subscribe(stream)
                if reading.done():
                    response = _response(reading)
                    reading = spawn(_read(stream), "xds read")
                    self._answered(address, response)
                    await self._answer(stream, response)
        finally:
            reading.cancel()
            waking.cancel()

    async def _answer(self, stream: AdsStream, response: Any) -> None:
        update = self._machine.feed(response)
        if update is None:
            log.warning("a response of type %s that nobody asked for", response.type_url)
            return
        self._owed.append((update, await self._config.take(update)))
        await self._acknowledge(stream)
        await self._subscribe(stream)

    async def _acknowledge(self, stream: AdsStream) -> None:
        """In the order of the responses of each type."""
        owed = self._owed
        self._owed = []
        for at, (update, errors) in enumerate(owed):
            if self._config.may_answer(update.type_url):
                await stream.send(self._machine.answer(update, errors))
            else:
                self._owed.append(owed[at])

    async def _subscribe(self, stream: AdsStream) -> None:
        for type_url, names in self._config.subscriptions().items():
            held = partial(self._config.versions, type_url)
            request = self._machine.subscribe(type_url, names, held)
            if request is not None:
                await stream.send(request)


async def _read(stream: AdsStream) -> Any:
    """The next response, or why there is none: a task must not end with an expected error."""
    try:
        return await stream.receive()
    except StreamEnded as error:
        return error


def _response(reading: asyncio.Task[Any]) -> Any:
    result = reading.result()
    if isinstance(result, StreamEnded):
        raise result
    return result
