"""Where a route stands: with its virtual host, its table, and what all routes are made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from proxy.config.model import (
    HeaderEdits,
    MirrorPolicy,
    Route,
    RouteConfiguration,
    VirtualHost,
    WeightedCluster,
)
from proxy.l7.strict import Check
from proxy.runtime import RuntimeValues
from proxy.stats import Stats
from proxy.upstream.cluster import Cluster

Clusters = Mapping[str, Cluster]
Overrides = Mapping[str, tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class RouteContext:
    """envoy_headers: False is the router filter's `suppress_envoy_headers`. strict_check: its
    `strict_check_headers`. respects_expected: its `respect_expected_rq_timeout`."""

    clusters: Clusters
    random: Random
    runtime: RuntimeValues
    stats: Stats
    envoy_headers: bool
    strict_check: Check | None = None
    respects_expected: bool = False
    shared: dict[tuple[int, ...], Overrides] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Of a route in a virtual host of a configuration."""

    config: RouteConfiguration
    host: VirtualHost
    route: Route
    context: RouteContext

    def edits(self, weighted: WeightedCluster | None = None) -> list[HeaderEdits]:
        """In the order in which they are made; a weighted cluster's come first (Envoy)."""
        levels = [self.route.edits, self.host.edits, self.config.edits]
        if self.config.most_specific_header_mutations_wins:
            levels.reverse()
        return levels if weighted is None else [weighted.edits, *levels]

    def overrides(self, weighted: WeightedCluster | None = None) -> Overrides:
        """What the levels say to filters, by name, the most specific first. Equal ones are one."""
        levels = [self.route.filter_configs, self.host.filter_configs, self.config.filter_configs]
        if weighted is not None:
            levels.insert(0, weighted.filter_configs)
        key = tuple([id(level) if level else 0 for level in levels])
        shared = self.context.shared
        if key not in shared:
            names = dict.fromkeys(name for level in levels for name in level)
            shared[key] = {
                name: tuple([level[name] for level in levels if name in level]) for name in names
            }
        return shared[key]

    def mirrors(self, own: tuple[MirrorPolicy, ...]) -> tuple[MirrorPolicy, ...]:
        return own or self.host.mirrors or self.config.mirrors

    def buffer_limit_bytes(self) -> int | None:
        own = self.route.request_buffer_limit_bytes
        return self.host.request_buffer_limit_bytes if own is None else own
