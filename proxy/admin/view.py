"""What the admin pages may know and do: filled in by `main`, which knows every room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.config.model import Node, Secret
from proxy.denials import Denials
from proxy.runtime import RuntimeValues
from proxy.stats import Stats
from proxy.upstream.cluster import Cluster

ServerState = Literal["LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"]


@dataclass(frozen=True, slots=True)
class DumpedResource:
    """A configured resource for `/config_dump`. type_url is that of `protos.types`; version is ''
    and `static` True for one of the bootstrap; `updated_at_s` is Unix time.

    json: the resource in protobuf's JSON form with proto field names, without `@type`; made only
    when asked for. error: why the newest version was refused, '' if it was not."""

    type_url: str
    name: str
    json: Callable[[], Mapping[str, Any]]
    version: str = ""
    static: bool = False
    updated_at_s: float = 0.0
    error: str = ""


@dataclass(slots=True)
class AdminView:
    """Read at every request, so it always shows what is. denials: who was turned away of late.

    dynamic_clusters: names that came over xDS. listeners: name -> (host, port) of each
    address at which it listens.
    secrets: every secret in force, for `/certs`. bootstrap: the file as it was read.
    now_s: Unix time. drain_listeners(inbound_only, graceful). fail_health_check(True): `/ready`
    is to say DRAINING."""

    stats: Stats
    state: Callable[[], ServerState]
    uptime_s: Callable[[], float]
    now_s: Callable[[], float]
    clusters: Callable[[], Iterable[Cluster]]
    listeners: Callable[[], Mapping[str, list[tuple[str, int]]]]
    quit: Callable[[], None]
    drain_listeners: Callable[[bool, bool], None]
    fail_health_check: Callable[[bool], None]
    node: Node = field(default_factory=Node)
    dynamic_clusters: Callable[[], frozenset[str]] = frozenset
    secrets: Callable[[], Iterable[Secret]] = tuple
    bootstrap: Callable[[], Mapping[str, Any]] = dict
    resources: Callable[[], Iterable[DumpedResource]] = tuple
    options: Mapping[str, Any] = field(default_factory=dict)
    runtime: RuntimeValues = field(default_factory=RuntimeValues)
    denials: Denials = field(default_factory=Denials)
