"""Takes a response into the store, resource by resource: good ones in, bad ones named.

It decodes in slices: `pause` is awaited whenever a slice of time is used up, so that requests are
not held up by a large push. What was refused is remembered until it is replaced or removed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from protos.types import VHDS, short_name
from proxy.config.decode import Resource, decode, model_name
from proxy.config.rejected import Rejected
from proxy.xds.raw import Raw
from proxy.xds.status import Rejection
from proxy.xds.store import Store
from proxy.xds.update import Received, Update

SLICE_S = 0.002
LARGE_BYTES = 8192
"""From here on one resource alone may take longer than a slice, and is decoded aside."""


@dataclass(frozen=True, slots=True)
class Clock:
    """monotonic: seconds for waiting; wall: Unix seconds for people.

    pause: lets others run. aside: decodes while others run, in a thread.
    """

    monotonic: Callable[[], float]
    wall: Callable[[], float]
    pause: Callable[[], Awaitable[None]]
    aside: Callable[[str, bytes], Awaitable[Resource]]


class Intake:
    """The door between responses and a store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.rejected: dict[tuple[str, str], Rejection] = {}

    async def take(self, update: Update) -> dict[str, str]:
        """Applies what is good and removes what is gone; answers {name: why} of what is bad."""
        self._remove(update)
        errors: dict[str, str] = {}
        seen: set[str] = set()
        slice_began = self._clock.monotonic()
        for each in update.resources:
            why = "is in the response twice" if each.name in seen else None
            seen.add(each.name)
            why = why or await self._accept(update.type_url, each)
            if why is not None:
                errors[each.name] = why
                self._remember(update.type_url, each, why)
                self._store.refuse(update.type_url, each.name, each.aliases, why)
            if self._clock.monotonic() - slice_began > SLICE_S:
                await self._clock.pause()
                slice_began = self._clock.monotonic()
        self._store.answered(update.type_url)
        await self._clock.pause()  # what follows looks at all that waits
        self._store.advance(self._clock.monotonic())
        await self._clock.pause()
        return errors

    async def restore(self, raws: Iterable[Raw]) -> tuple[int, dict[str, str]]:
        """Takes resources of the disk over: how many, and why others could not be."""
        errors: dict[str, str] = {}
        count = 0
        slice_began = self._clock.monotonic()
        for raw in raws:
            received = Received(raw.name, raw.version, raw.type_url, raw.body, raw.aliases)
            why = await self._accept(raw.type_url, received, raw.updated_at_s)
            if why is None:
                count += 1
            else:
                errors[f"{short_name(raw.type_url)} {raw.name}"] = why
            if self._clock.monotonic() - slice_began > SLICE_S:
                await self._clock.pause()
                slice_began = self._clock.monotonic()
        return count, errors

    def _remove(self, update: Update) -> None:
        gone = set(update.removed)
        if update.complete:
            here = {each.name for each in update.resources}
            gone |= self._store.versions(update.type_url).keys() - here
            for key in [key for key in self.rejected if key[0] == update.type_url]:
                if key[1] not in here:
                    del self.rejected[key]
        for name in gone:
            self.rejected.pop((update.type_url, name), None)
        self._store.remove(update.type_url, sorted(gone), self._clock.monotonic())
        if update.absent:
            held = self._store.versions(update.type_url)
            # With the version that is held it is a heartbeat of that (xDS, TTL).
            absent = [name for name, version in update.absent if held.get(name) != version]
            self._store.deny(update.type_url, absent)

    async def _accept(self, type_url: str, each: Received, at_s: float | None = None) -> str | None:
        """Why it is refused; None when it is taken."""
        if each.type_url != type_url:
            return f"is a {short_name(each.type_url)}, not a {short_name(type_url)}"
        wall_s = self._clock.wall() if at_s is None else at_s
        try:
            if len(each.body) < LARGE_BYTES:
                model = decode(type_url, each.body)
            else:
                model = await self._clock.aside(type_url, each.body)
            if type_url != VHDS and (name := model_name(model)) != each.name:
                return f"is `{name}` inside"
            self._store.accept(
                type_url, each.name, each.version, each.body, model,
                self._clock.monotonic(), wall_s, each.aliases,
            )  # fmt: skip
        except Rejected as error:
            return str(error)
        self.rejected.pop((type_url, each.name), None)
        return None

    def _remember(self, type_url: str, each: Received, why: str) -> None:
        self.rejected[(type_url, each.name)] = Rejection(
            type_url, each.name, each.version, why, self._clock.wall()
        )
