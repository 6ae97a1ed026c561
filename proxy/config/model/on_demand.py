"""What requests wait for when it is not here (`envoy.filters.http.on_demand`)."""

from __future__ import annotations

from protos.frozen import frozen


@frozen
class OnDemandConfig:
    """clusters: whether they are fetched, too (`odcds`). timeout_s: how long a request waits."""

    clusters: bool = False
    timeout_s: float = 5.0
