"""All listeners of the proxy: takes a whole new set, binds, swaps and closes what changed.

An address that stays keeps its socket, so no connection attempt is lost in a change; live
connections keep what they began with.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from proxy.config.model import SocketAddress
from proxy.demand import Demand
from proxy.listen.accept import Acceptor, bind
from proxy.listen.counters import InspectorCounters, ListenerCounters
from proxy.listen.runtime import ListenerRuntime
from proxy.runtime import RuntimeValues
from proxy.stats import Stats

_Key = tuple[SocketAddress, str]
_Place = tuple[str, int]
"""A listener's name, and which of its addresses."""


class Listeners:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stats: Stats,
        values: RuntimeValues,
        demand: Demand | None = None,
    ) -> None:
        """values: may limit the connections of a listener. demand: where listeners are asked for
        that are fetched by name."""
        self._loop = loop
        self._values = values
        self._demand = demand
        self._stats = stats
        self._inspectors = InspectorCounters(stats)
        self._bound: dict[_Key, Acceptor] = {}
        self._places: dict[_Key, _Place] = {}
        self._by_address: dict[tuple[str, int], ListenerRuntime] = {}
        self._names: frozenset[str] = frozenset()

    @property
    def addresses(self) -> Mapping[str, tuple[str, int]]:
        """Where each bound listener listens, with the port the kernel gave for port 0."""
        return {name: found[0] for name, found in self.all_addresses.items()}

    @property
    def all_addresses(self) -> Mapping[str, list[tuple[str, int]]]:
        """With additional ones, in their order."""
        found: dict[str, list[tuple[str, int]]] = {}
        for key in sorted(self._bound, key=self._places.__getitem__):
            found.setdefault(self._places[key][0], []).append(self._bound[key].address)
        return found

    def apply(self, wanted: Mapping[str, ListenerRuntime]) -> dict[str, str]:
        """Makes `wanted` the set of listeners. Answers one line per listener that could not be
        brought up, by name; such a listener stays as it was before."""
        errors: dict[str, str] = {}
        keys = self._claim(wanted, errors)
        missing = {at: key for at, key in keys.items() if not self._fits(key, wanted[at[0]])}
        self._swap({at: key for at, key in keys.items() if at not in missing}, wanted)
        for place in list(missing):
            if self._bind(place, missing[place], wanted[place[0]]) is None:
                del missing[place]
        self._close_others(keys, stay=missing)
        for place, key in missing.items():  # those that an old listener's address stood in the way
            if (error := self._rebind(place, key, wanted[place[0]])) is not None:
                errors[place[0]] = error
        self._close_halves(errors)
        self._count(wanted, errors)
        self._by_address = _by_address(wanted)
        return errors

    def close(self) -> None:
        """Stops accepting everywhere; live connections go on."""
        for acceptor in self._bound.values():
            acceptor.close()
        self._bound.clear()
        self._places.clear()
        self._by_address = {}

    # ----------------------------------------------------------------------- one change

    def _claim(
        self, wanted: Mapping[str, ListenerRuntime], errors: dict[str, str]
    ) -> dict[_Place, _Key]:
        """The sockets of each listener that binds; an address can have one listener only."""
        owners: dict[_Key, _Place] = {}
        for name, runtime in wanted.items():
            for place, key in _keys(name, runtime):
                if key in owners:
                    errors[name] = (
                        f"cannot listen on {key[0]} (listener {name}): "
                        f"listener {owners[key][0]} has the same address"
                    )
                else:
                    owners[key] = place
        return {place: key for key, place in owners.items()}

    def _fits(self, key: _Key, runtime: ListenerRuntime) -> bool:
        """Whether there is a socket that can be the listener's: options are for good."""
        bound = self._bound.get(key)
        if bound is None:
            return False
        return bound.runtime.config.socket_options == runtime.config.socket_options

    def _swap(self, keys: Mapping[_Place, _Key], wanted: Mapping[str, ListenerRuntime]) -> None:
        for place, key in keys.items():
            runtime = wanted[place[0]]
            self._bound[key].swap(runtime, ListenerCounters(self._stats, runtime.stat_prefix))
            self._places[key] = place

    def _bind(self, place: _Place, key: _Key, runtime: ListenerRuntime) -> str | None:
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
            self._demand,
        )
        self._places[key] = place
        return None

    def _close(self, key: _Key) -> None:
        self._bound.pop(key).close()
        del self._places[key]

    def _close_others(self, keys: Mapping[_Place, _Key], stay: Mapping[_Place, _Key]) -> None:
        """Closes what nobody wants any more, except the old address of a listener that has not got
        its new one."""
        kept = set(keys.values())
        for key, place in list(self._places.items()):
            if key not in kept and place not in stay:
                self._close(key)

    def _close_halves(self, errors: Mapping[str, str]) -> None:
        """A new listener that can't have all of its addresses has none."""
        for key, (name, _) in list(self._places.items()):
            if name in errors and name not in self._names:
                self._close(key)

    def _rebind(self, place: _Place, key: _Key, runtime: ListenerRuntime) -> str | None:
        """Tries again; gives the listener's own old socket up for it if the ports are the same."""
        old_key = next((one for one, its in self._places.items() if its == place), None)
        old = self._bound[old_key] if old_key is not None else None
        in_the_way = old is not None and old.address[1] == key[0].port
        if old_key is not None and in_the_way:
            self._close(old_key)
        error = self._bind(place, key, runtime)
        if old_key is not None and old is not None:
            if error is None and not in_the_way:
                self._close(old_key)
            elif error is not None and in_the_way:
                self._bind(place, old_key, old.runtime)
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
        self._stats.gauge("listener_manager.total_listeners_active").value = len(
            {name for name, _ in self._places.values()}
        )
        self._names = names


def _keys(name: str, runtime: ListenerRuntime) -> list[tuple[_Place, _Key]]:
    """Of the sockets of a listener. Those on port 0 each have one of their own."""
    if not runtime.config.bind_to_port:
        return []
    return [
        ((name, index), (one, f"{name} {index}" if not one.port and not one.path else ""))
        for index, one in enumerate(runtime.config.addresses)
    ]


def _by_address(wanted: Mapping[str, ListenerRuntime]) -> dict[tuple[str, int], ListenerRuntime]:
    return {
        (address.host, address.port): runtime
        for runtime in wanted.values()
        for address in runtime.config.addresses
    }
