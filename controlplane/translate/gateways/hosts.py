"""Host names of listeners and routes: what two of them have in common, and which is closer."""

from __future__ import annotations

from collections.abc import Iterable

ANY = "*"


def covers(wide: str, narrow: str) -> bool:
    """Whether every host that `narrow` takes is taken by `wide`: '*', '*.a.com' or 'a.com'."""
    if wide in (ANY, narrow):
        return True
    return wide.startswith("*.") and narrow.removeprefix("*").endswith(wide[1:])


def common(one: str, other: str) -> str:
    """What both take, '' for nothing."""
    if covers(one, other):
        return other
    return one if covers(other, one) else ""


def in_common(listener: str, route: Iterable[str]) -> tuple[str, ...]:
    """The hosts under which a route is at a listener ('' and () are any), in the route's order."""
    own = listener or ANY
    found = [common(own, host) for host in route or (ANY,)]
    return tuple(dict.fromkeys(host for host in found if host))


def closeness(host: str) -> tuple[int, int]:
    """Sorts hosts that cover the same name, the closest last: exact ones behind wildcards."""
    return (0 if host.startswith(ANY) else 1, len(host))
