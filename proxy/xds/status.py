"""What the xDS client tells about itself, for /config_dump and /ready. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.xds.raw import Raw


@dataclass(frozen=True, slots=True)
class Rejection:
    """A resource that was refused and whose earlier version, if any, stays in force."""

    type_url: str
    name: str
    version: str
    why: str
    at_s: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class XdsStatus:
    """connected: a stream is open and was answered. from_last_good: nothing newer has come yet.

    initial_fetch_done: the first clusters and listeners are here, or have been waited for.
    in_flight: something of what is here has yet to be handed on.
    """

    configured: bool
    connected: bool
    control_plane: str = ""
    from_last_good: bool = False
    initial_fetch_done: bool = True
    in_flight: bool = False
    warming_clusters: frozenset[str] = frozenset()
    warming_listeners: frozenset[str] = frozenset()
    resources: tuple[Raw, ...] = field(default=(), repr=False)
    rejected: tuple[Rejection, ...] = ()
