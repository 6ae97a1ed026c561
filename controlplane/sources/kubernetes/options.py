"""What is said of the API server as a source; apart from the room, which few open."""

from __future__ import annotations

from pathlib import Path

from protos.frozen import frozen


@frozen
class SourceOptions:
    """namespaces: only these; none: all. lease_namespace: where the leader's Lease is; '': where
    this pod is, else weft-system. last_good: the file in which policies are kept over a restart."""

    kubeconfig: Path | None = None
    context: str = ""
    namespaces: tuple[str, ...] = ()
    lease_namespace: str = ""
    last_good: Path | None = None
