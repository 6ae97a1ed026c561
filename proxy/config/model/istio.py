"""What Istio's own filters are configured with: who a workload is, and what of it metrics tell."""

from __future__ import annotations

from protos.frozen import frozen

UNKNOWN = "unknown"
LATEST = "latest"


@frozen
class Peer:
    """A workload as metrics call it, in the words of Istio's labels; '' for what is not known."""

    workload: str = ""
    namespace: str = ""
    canonical_service: str = ""
    canonical_revision: str = ""
    app: str = ""
    version: str = ""
    cluster: str = ""
    instance: str = ""


@frozen
class PeerMetadata:
    """`io.istio.http.peer_metadata.Config`: of which side the metadata is read (and then taken out
    of the message), and to which side ours is told. skips_external: clusters outside of the mesh
    hear nothing."""

    reads_downstream: bool = False
    reads_upstream: bool = False
    tells_downstream: bool = False
    tells_upstream: bool = False
    skips_external: bool = False


@frozen
class Expression:
    """A text, or an attribute of a request by its name in CEL, with the key of a mapping."""

    attribute: str = ""
    key: str = ""
    literal: str = ""


@frozen
class MetricOverride:
    """metric: without `istio_`; '' for all of them."""

    metric: str = ""
    drop: bool = False
    removes: tuple[str, ...] = ()
    dimensions: tuple[tuple[str, Expression], ...] = ()


@frozen
class IstioStats:
    """`stats.PluginConfig`. host_fallback: where no service is known, it is what the request says
    by its host. interval_s: between reports of a TCP connection's bytes."""

    overrides: tuple[MetricOverride, ...] = ()
    host_fallback: bool = True
    interval_s: float = 5.0
