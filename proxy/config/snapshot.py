"""The whole configuration at one moment: what `xds.store` publishes and `compile` builds from.

Only warm resources are in it (Envoy's term): a cluster whose endpoints and secrets are there, a
listener whose routes and secrets are there. While a new version warms, the previous one stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from protos.frozen import frozen
from proxy.config.model import (
    Cluster,
    ClusterLoadAssignment,
    Listener,
    RouteConfiguration,
    Secret,
)

Key = tuple[str, str]
"""(type URL, name)"""


@frozen
class Snapshot:
    """Maps by name, static resources included. Assignments are keyed by the CLUSTER's name.

    answers: of what requests asked for (`demand`), whether it is here; nothing of what nobody has
    told us of yet. refused: listeners that were asked for and came, and why none of them can be
    (Rejected)."""

    listeners: Mapping[str, Listener] = field(default_factory=dict)
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    assignments: Mapping[str, ClusterLoadAssignment] = field(default_factory=dict)
    routes: Mapping[str, RouteConfiguration] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    answers: Mapping[Key, bool] = field(default_factory=dict)
    refused: Mapping[Key, str] = field(default_factory=dict)
