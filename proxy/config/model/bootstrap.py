"""What a bootstrap file says (`config.bootstrap.v3`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from protos.frozen import frozen
from proxy.config.model.clusters import Cluster
from proxy.config.model.common import SocketAddress
from proxy.config.model.connecting import NO_SOCKETS, Sockets
from proxy.config.model.listeners import Listener
from proxy.config.model.tls import Secret


@frozen
class Node:
    id: str = ""
    cluster: str = ""
    locality: tuple[str, str, str] = ("", "", "")
    metadata: Mapping[str, Any] = field(default_factory=dict)


@frozen
class AdsConfig:
    """`dynamic_resources.ads_config`: delta or state-of-the-world, through a static cluster.

    initial_metadata: gRPC metadata of the stream, e.g. ('authorization', 'Bearer ...')."""

    cluster: str
    delta: bool
    initial_metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    set_node_on_first_message_only: bool = False
    authority: str = ""


@frozen
class Bootstrap:
    """runtime: its layers, the lowest first, each with its name and values."""

    """lds_ads, cds_ads: from the control plane; lds_path, cds_path: from that file."""

    """outlier_event_log_path: where ejections are told, '' for nowhere."""

    node: Node = Node()
    admin: SocketAddress | None = None
    ads: AdsConfig | None = None
    lds_ads: bool = False
    cds_ads: bool = False
    local_cluster_name: str = ""
    sockets: Sockets = NO_SOCKETS
    lds_path: str = ""
    cds_path: str = ""
    listeners: tuple[Listener, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    secrets: tuple[Secret, ...] = ()
    runtime: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    outlier_event_log_path: str = ""
