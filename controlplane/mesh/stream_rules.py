"""Rules for bytes in the neutral mesh: TCP by place and source, TLS by server name as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from controlplane.mesh.http_rules import Destination
from controlplane.mesh.position import NOWHERE, Position
from protos.frozen import frozen


@frozen
class StreamMatch:
    """server_names: of which TLS's is one ('*.x' stands for all below x); () is any bytes.
    destination_subnets: where the client connects to, which only who intercepts it knows."""

    port: int | None = None
    server_names: tuple[str, ...] = ()
    source_labels: Mapping[str, str] = field(default_factory=dict)
    source_namespace: str = ""
    destination_subnets: tuple[str, ...] = ()


@frozen
class StreamRule:
    """One `tcp:` or `tls:` entry; the first rule of which a match holds takes a connection."""

    matches: tuple[StreamMatch, ...]
    destinations: tuple[Destination, ...]
    position: Position = NOWHERE
