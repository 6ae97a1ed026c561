"""All listeners of the proxy: takes a whole new set, binds, swaps and closes what changed.

An address that stays keeps its socket, so no connection attempt is lost in a change; live
connections keep what they began with.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from proxy.config.model import SocketAddress
from proxy.listen.accept import Acceptor, bind
from proxy.listen.counters import InspectorCounters, ListenerCounters
from proxy.listen.runtime import ListenerRuntime
from proxy.runtime import RuntimeValues
from proxy.stats import Stats

_Key = tuple[SocketAddress, str]


class Listeners:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, stats: Stats, values: RuntimeValues
    ) -> None:
        """values: may limit the connections of a listener."""
        self._loop = loop
        self._values = values
        self._stats = stats
        self._inspectors = InspectorCounters(stats)
        self._bound: dict[_Key, Acceptor] = {}
        self._by_address: dict[tuple[str, int], ListenerRuntime] = {}
        self._names: frozenset[str] = frozenset()

    @property
    def addresses(self) -> Mapping[str, tuple[str, int]]:
        """Where each bound listener listens, with the port the kernel gave for port 0."""
        return {acceptor.runtime.config.name: acceptor.address for acceptor in self._bound.values()}

    def apply(self, wanted: Mapping[str, ListenerRuntime]) -> dict[str, str]:
        """Makes `wanted` the set of listeners. Answers one line per listener that could not be
        brought up, by name; such a listener stays as it was before."""
        errors: dict[str, str] = {}
        keys = self._claim(wanted, errors)
        missing = {name: key for name, key in keys.items() if not self._fits(key, wanted[name])}
        self._swap({name: key for name, key in keys.items() if name not in missing}, wanted)
        for name in list(missing):
            if self._bind(missing[name], wanted[name]) is None:
                del missing[name]
        self._close_others(keys, stay=missing)
        for name, key in missing.items():  # those that an old listener's address stood in the way
            if (error := self._rebind(name, key, wanted[name])) is not None:
                errors[name] = error
        self._count(wanted, errors)
        self._by_address = _by_address(wanted)
        return errors

    def close(self) -> None:
        """Stops accepting everywhere; live connections go on."""
        for acceptor in self._bound.values():
            acceptor.close()
        self._bound.clear()
        self._by_address = {}

    # ----------------------------------------------------------------------- one change

    def _claim(
        self, wanted: Mapping[str, ListenerRuntime], errors: dict[str, str]
    ) -> dict[str, _Key]:
        """The socket of each listener that binds; an address can have one listener only."""
        owners: dict[_Key, str] = {}
        for name, runtime in wanted.items():
            if not runtime.config.bind_to_port:
                continue
            key = _key(name, runtime)
            if key in owners:
                errors[name] = (
                    f"cannot listen on {key[0]} (listener {name}): "
                    f"listener {owners[key]} has the same address"
                )
            else:
                owners[key] = name
        return {name: key for key, name in owners.items()}

    def _fits(self, key: _Key, runtime: ListenerRuntime) -> bool:
        """Whether there is a socket that can be the listener's: options are for good."""
        bound = self._bound.get(key)
        if bound is None:
            return False
        return bound.runtime.config.socket_options == runtime.config.socket_options

    def _swap(self, keys: Mapping[str, _Key], wanted: Mapping[str, ListenerRuntime]) -> None:
        for name, key in keys.items():
            runtime = wanted[name]
            self._bound[key].swap(runtime, ListenerCounters(self._stats, runtime.stat_prefix))

    def _bind(self, key: _Key, runtime: ListenerRuntime) -> str | None:
        try:
            sock = bind(key[0], runtime.config.tcp_backlog_size, runtime.config.socket_options)
        except OSError as error:
            why = os.strerror(error.errno).lower() if error.errno else str(error)
            return f"cannot listen on {key[0]} (listener {runtime.config.name}): {why}"
        counters = ListenerCounters(self._stats, runtime.stat_prefix)
        former = self._bound.get(key)  # of a path, or with SO_REUSEPORT, it was not in the way
        if former is not None:
            former.close()
        self._bound[key] = Acceptor(
            *(self._loop, sock, runtime, counters, self._inspectors, self._find_listener),
            self._values,
        )
        return None

    def _close_others(self, keys: Mapping[str, _Key], stay: Mapping[str, _Key]) -> None:
        """Closes what nobody wants any more, except the old address of a listener that has not got
        its new one."""
        for key, acceptor in list(self._bound.items()):
            if key not in keys.values() and acceptor.runtime.config.name not in stay:
                acceptor.close()
                del self._bound[key]

    def _rebind(self, name: str, key: _Key, runtime: ListenerRuntime) -> str | None:
        """Tries again; gives the listener's own old socket up for it if the ports are the same."""
        old_key = next(
            (k for k, acceptor in self._bound.items() if acceptor.runtime.config.name == name), None
        )
        old = self._bound[old_key] if old_key is not None else None
        in_the_way = old is not None and old.address[1] == key[0].port
        if old_key is not None and old is not None and in_the_way:
            old.close()
            del self._bound[old_key]
        error = self._bind(key, runtime)
        if old_key is not None and old is not None:
            if error is None and not in_the_way:
                old.close()
                del self._bound[old_key]
            elif error is not None and in_the_way:
                self._bind(old_key, old.runtime)
        return error

    def _find_listener(self, destination: tuple[str, int]) -> ListenerRuntime | None:
        """Envoy's hand-off: the listener of exactly this address, else of its port on any."""
        host, port = destination
        wildcard = "::" if ":" in host else "0.0.0.0"
        return self._by_address.get(destination) or self._by_address.get((wildcard, port))

    def _count(self, wanted: Mapping[str, ListenerRuntime], errors: Mapping[str, str]) -> None:
        names = frozenset(wanted)
        counter = self._stats.counter
        counter("listener_manager.listener_added").value += len(names - self._names)
        counter("listener_manager.listener_removed").value += len(self._names - names)
        counter("listener_manager.listener_create_success").value += len(wanted) - len(errors)
        counter("listener_manager.listener_create_failure").value += len(errors)
        self._stats.gauge("listener_manager.total_listeners_active").value = len(self._bound)
        self._names = names


def _key(name: str, runtime: ListenerRuntime) -> _Key:
    """Of a socket. Listeners on port 0 each have one of their own."""
    address = runtime.config.address
    return address, name if not address.port and not address.path else ""


def _by_address(wanted: Mapping[str, ListenerRuntime]) -> dict[tuple[str, int], ListenerRuntime]:
    return {
        (runtime.config.address.host, runtime.config.address.port): runtime
        for runtime in wanted.values()
    }
