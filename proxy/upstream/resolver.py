"""Asks DNS: a name to its addresses and how long they are good for, by c-ares as in Envoy.

c-ares knows /etc/hosts and the search list, and tells the TTL that `getaddrinfo` hides. It is
imported when the first name is asked for.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from proxy.config.model.discovery import DnsFamily, DnsResolver

_NO_DATA, _NOT_FOUND = 1, 4  # ARES_ENODATA, ARES_ENOTFOUND
_NO_ANSWER = ((), None)

Records = tuple[Sequence[str], float | None]
"""Addresses and the smallest TTL in seconds; None where nobody tells it."""
Ask = Callable[[str, int], Awaitable[Records]]
"""A name and an address family (AF_INET ...) to its records."""


class ResolveFailed(Exception):
    """Nobody answered, or with an error. That a name does not exist is an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    addresses: tuple[str, ...]
    ttl_s: float | None = None


class Resolver(Protocol):
    async def resolve(self, name: str, family: DnsFamily) -> Answer: ...


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class ByFamily:
    """Turns what is asked of one family into Envoy's `dns_lookup_family`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def resolve(self, name: str, family: DnsFamily) -> Answer:
        """Raises ResolveFailed."""
        if is_ip(name):
            return Answer((name,))
        if family == "V4_ONLY":
            return _answer(await self._ask(name, socket.AF_INET))
        if family == "V6_ONLY":
            return _answer(await self._ask(name, socket.AF_INET6))
        if family == "ALL":
            return await self._both(name)
        order = [socket.AF_INET6, socket.AF_INET]
        if family == "V4_PREFERRED":
            order.reverse()
        first = await self._or_nothing(name, order[0])
        return _answer(first) if first[0] else _answer(await self._ask(name, order[1]))

    async def _both(self, name: str) -> Answer:
        four, six = await asyncio.gather(
            self._or_nothing(name, socket.AF_INET), self._or_nothing(name, socket.AF_INET6)
        )
        if not four[0] and not six[0]:
            four = await self._ask(name, socket.AF_INET)
        ttls = [ttl for _, ttl in (four, six) if ttl is not None]
        return Answer(tuple(dict.fromkeys((*four[0], *six[0]))), min(ttls, default=None))

    async def _or_nothing(self, name: str, family: int) -> Records:
        try:
            return await self._ask(name, family)
        except ResolveFailed:
            return _NO_ANSWER


def _answer(records: Records) -> Answer:
    return Answer(tuple(dict.fromkeys(records[0])), records[1])


class Resolvers:
    """One per configuration: clusters share what c-ares keeps. c-ares answers in a thread of its
    own, so whoever makes this closes it before the loop ends."""

    def __init__(self) -> None:
        self._made: dict[DnsResolver, Resolver] = {}
        self._cares: dict[DnsResolver, _Cares] = {}

    def get(self, config: DnsResolver) -> Resolver:
        found = self._made.get(config)
        if found is None:
            found = self._made[config] = ByFamily(self._ask(config))
        return found

    def _ask(self, config: DnsResolver) -> Ask:
        if config.system:
            return _ask_system
        cares = self._cares[config] = _Cares(config)
        return cares.ask

    def keep(self, used: Collection[DnsResolver | None]) -> None:
        """Closes all others: what they were asked fails."""
        for config in [config for config in self._made if config not in used]:
            del self._made[config]
            cares = self._cares.pop(config, None)
            if cares is not None:
                cares.close()

    def close(self) -> None:
        """Nothing calls back into the loop afterwards."""
        self.keep(())


async def _ask_system(name: str, family: int) -> Records:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(name, None, family=family, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
            return _NO_ANSWER
        raise ResolveFailed(str(error)) from None
    except (OSError, UnicodeError) as error:  # the latter: a label that is empty or too long
        raise ResolveFailed(str(error)) from None
    return [str(each[4][0]) for each in found], None


class _Channel:
    """c-ares keeps answers for their TTL, and gives no way to forbid it (Envoy does): so each
    channel is asked each question once. aiodns ends it with the last reference to it."""

    __slots__ = ("asked", "pending", "resolver")

    def __init__(self, resolver: Any) -> None:
        self.resolver = resolver
        self.asked: set[tuple[str, int]] = set()
        self.pending = 0

    async def ask(self, name: str, family: int) -> Any:
        self.asked.add((name, family))
        self.pending += 1
        try:
            return await self.resolver.getaddrinfo(name, family=family, type=socket.SOCK_STREAM)
        finally:
            self.pending -= 1

    def cancel(self) -> None:
        """Who waits is told so through the loop; that c-ares has called back for all of them, also
        for those whose task was cancelled, is certain when this returns."""
        self.resolver.cancel()


class _Cares:
    """retired: channels that get no more questions, but have yet to answer some."""

    def __init__(self, config: DnsResolver) -> None:
        self._config = config
        self._channel: _Channel | None = None
        self._retired: set[_Channel] = set()
        self._closed = False

    def close(self) -> None:
        self._closed = True
        for channel in (self._channel, *self._retired):
            if channel is not None:
                channel.cancel()
        self._channel = None
        self._retired.clear()

    def _fresh(self, name: str, family: int) -> _Channel:
        import aiodns
        import pycares

        known = self._channel
        if known is not None and (name, family) not in known.asked:
            return known
        if known is not None:
            self._retired.add(known)
            self._end(known)
        self._channel = _Channel(aiodns.DNSResolver(**self._options(pycares)))
        return self._channel

    def _end(self, channel: _Channel) -> None:
        """A retired channel that nobody waits for; c-ares may still, for who was cancelled."""
        if not channel.pending and channel in self._retired:
            self._retired.remove(channel)
            channel.cancel()

    async def ask(self, name: str, family: int) -> Records:
        import aiodns

        if self._closed:
            raise ResolveFailed("the resolver is closed")
        try:
            found = await self._ask(name, family)
        except aiodns.error.DNSError as error:
            if error.args and error.args[0] in (_NO_DATA, _NOT_FOUND):
                return _NO_ANSWER
            raise ResolveFailed(str(error)) from None
        except (OSError, UnicodeError) as error:
            raise ResolveFailed(str(error)) from None
        nodes = [node for node in found.nodes if node.family == family]
        ttl = min((float(node.ttl) for node in nodes), default=None)
        return [node.addr[0].decode() for node in nodes], ttl

    async def _ask(self, name: str, family: int) -> Any:
        channel = self._fresh(name, family)
        try:
            return await channel.ask(name, family)
        finally:
            self._end(channel)

    def _options(self, pycares: Any) -> dict[str, Any]:
        config = self._config
        options: dict[str, Any] = {}
        if config.servers:
            options["nameservers"] = [str(server) for server in config.servers]
        flags = pycares.ARES_FLAG_USEVC if config.use_tcp else 0
        if config.no_search:
            flags |= pycares.ARES_FLAG_NOSEARCH
        if flags:
            options["flags"] = flags
        if config.rotate:
            options["rotate"] = True
        if config.timeout_s is not None:
            options["timeout"] = config.timeout_s
        if config.tries is not None:
            options["tries"] = config.tries
        return options
