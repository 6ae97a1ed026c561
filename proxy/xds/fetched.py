"""Virtual hosts that came by name (VHDS): which were asked for, and which table gets them.

A name is TABLE/HOST. The control plane answers it with the virtual host that serves the host, whose
own name may be another one (then the asked one is among its aliases), or with a resource without a
body: there is none. PURE; a virtual host that nobody asks for any more is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from proxy.config.model import RouteAction, RouteConfiguration, VirtualHost
from proxy.xds.needs import routes_of
from proxy.xds.raw import Raw

NOBODY = ""
"""In place of a virtual host's name: there is none of the name that was asked for."""
CLUSTERS_AT_ONCE = 8
"""Of so many clusters that a virtual host names, none is waited for by its first request."""


@dataclass(slots=True)
class _Host:
    """in_force: the model with the domains by which it is to be found."""

    raw: Raw
    model: VirtualHost
    clusters: frozenset[str]
    asked: set[str] = field(default_factory=set)
    in_force: VirtualHost | None = None


class Fetched:
    """Virtual hosts of all tables. `asked`: name -> the own name of its virtual host, NOBODY, or
    None while there is no answer. changes: counts what matters to who looks at `hosts`; denials:
    what else matters to who looks at `answers`."""

    def __init__(self) -> None:
        self.asked: dict[str, str | None] = {}
        self.changes = 0
        self.denials = 0
        self._hosts: dict[str, _Host] = {}
        self._named: frozenset[str] = frozenset()
        self._named_at = 0
        self._merged: dict[str, tuple[RouteConfiguration, int, RouteConfiguration]] = {}

    # ----------------------------------------------------------------- what comes in

    def ask(self, names: Iterable[str]) -> None:
        """From now on exactly these."""
        wanted = dict.fromkeys(names)
        for name in [name for name in self.asked if name not in wanted]:
            self._leave(name)
            del self.asked[name]
        for name in wanted:
            self.asked.setdefault(name, None)

    def accept(self, raw: Raw, model: VirtualHost) -> None:
        named = {name for name in (raw.name, *raw.aliases) if name in self.asked}
        host = self._hosts.get(raw.name)
        if host is None:
            if not named:
                return  # nobody asks for it (any more): the answer crossed our unsubscribing
            host = self._hosts[raw.name] = _Host(raw, model, clusters_of(model))
        elif host.model == model and named <= host.asked:
            host.raw = raw
            return
        for name in named - host.asked:
            self._leave(name)
            self.asked[name] = raw.name
        host.asked |= named
        self._hosts[raw.name] = _Host(raw, model, clusters_of(model), host.asked)
        self.changes += 1

    def deny(self, name: str) -> None:
        """There is no such virtual host (any more): by its own name, or by one that was asked."""
        host = self._hosts.get(name)
        for asked in {name, *(host.asked if host is not None else ())}:
            if asked in self.asked and self.asked[asked] != NOBODY:
                self._leave(asked)
                self.asked[asked] = NOBODY
                self.denials += 1

    def is_held(self, name: str) -> bool:
        return name in self._hosts

    def _leave(self, name: str) -> None:
        """A virtual host that is asked for by no name goes."""
        own = self.asked[name]
        host = self._hosts.get(own) if own else None
        if host is not None and own is not None:
            host.asked.discard(name)
            host.in_force = None
            self.changes += 1
            if not host.asked:
                del self._hosts[own]

    # ----------------------------------------------------------------- what goes out

    def answers(self) -> dict[str, bool]:
        """Of the names that were answered, whether there is a virtual host."""
        return {name: own != NOBODY for name, own in self.asked.items() if own is not None}

    def clusters(self) -> frozenset[str]:
        """What their routes name, as far as it is asked for at once."""
        if self._named_at != self.changes:
            named = (host.clusters for host in self._hosts.values())
            self._named_at, self._named = self.changes, frozenset[str]().union(*named)
        return self._named

    def raws(self) -> Iterator[Raw]:
        """With the names that were asked for as aliases."""
        for host in self._hosts.values():
            yield replace(host.raw, aliases=tuple(sorted(host.asked)))

    def versions(self) -> dict[str, str]:
        return {name: host.raw.version for name, host in self._hosts.items()}

    def joined(self, table: RouteConfiguration) -> RouteConfiguration:
        """`table` with its virtual hosts; the same object while nothing has changed."""
        known = self._merged.get(table.name)
        if known is None or known[0] is not table or known[1] != self.changes:
            found = (*table.virtual_hosts, *self._of(table))
            merged = replace(table, virtual_hosts=found)
            if known is not None and known[0] is table and _alike(known[2], merged):
                merged = known[2]
            known = self._merged[table.name] = (table, self.changes, merged)
        return known[2]

    def _of(self, table: RouteConfiguration) -> Iterator[VirtualHost]:
        own = {domain.lower() for host in table.virtual_hosts for domain in host.domains}
        for name, host in self._hosts.items():
            if table_of(name) == table.name:
                if host.in_force is None:
                    domains = _domains(host, own, table.ignore_port_in_host_matching)
                    host.in_force = replace(host.model, domains=domains)
                yield host.in_force


def table_of(name: str) -> str:
    return name.rpartition("/")[0]


def _alike(one: RouteConfiguration, other: RouteConfiguration) -> bool:
    return len(one.virtual_hosts) == len(other.virtual_hosts) and all(
        left is right for left, right in zip(one.virtual_hosts, other.virtual_hosts, strict=True)
    )


def _domains(host: _Host, taken: set[str], ignores_port: bool) -> tuple[str, ...]:
    """The exact ones, and of those below a wildcard the hosts that were asked for: another one may
    have a virtual host of its own, which only the control plane knows. The table's own come first.
    """
    exact = [one for one in host.model.domains if "*" not in one]
    wild = [one.lower() for one in host.model.domains if "*" in one]
    for name in sorted(host.asked):
        asked = name.rpartition("/")[2]
        found = _without_port(asked) if ignores_port else asked
        if any(_fits(found, one) for one in wild):
            exact.append(found)
    return tuple(one for one in dict.fromkeys(exact) if one.lower() not in taken)


def _without_port(host: str) -> str:
    colon = host.rfind(":")
    return host[:colon] if colon > host.rfind("]") else host


def _fits(host: str, wild: str) -> bool:
    if len(wild) > 1 and len(host) < len(wild):
        return False
    return host.endswith(wild[1:]) if wild.startswith("*") else host.startswith(wild[:-1])


def clusters_of(host: VirtualHost) -> frozenset[str]:
    """Of copies all, as no request waits for those; of where requests go few or none."""
    copies = {one.cluster for one in host.mirrors if one.cluster}
    goals: set[str] = set()
    for action in _actions(host):
        copies |= {one.cluster for one in action.mirrors if one.cluster}
        goals |= {one.name for one in action.weighted if one.name}
        if action.cluster:
            goals.add(action.cluster)
    return frozenset(copies | goals if len(goals) <= CLUSTERS_AT_ONCE else copies)


def _actions(host: VirtualHost) -> Iterator[RouteAction]:
    for route in routes_of(host):
        if isinstance(route.action, RouteAction):
            yield route.action
