"""v1 Node: a machine of the cluster; only its labels, which say where it stands."""

from __future__ import annotations

from controlplane.kinds.objects import Object
from controlplane.kinds.schema import names, record


@record
class Node(Object):
    API_VERSIONS = names("v1")
    IGNORED = Object.IGNORED | names("spec")

    @property
    def locality(self) -> tuple[str, str, str]:
        """Region, zone and subzone by the well-known labels; '' is not known."""
        labels = self.metadata.labels
        return (
            labels.get("topology.kubernetes.io/region", ""),
            labels.get("topology.kubernetes.io/zone", ""),
            labels.get("topology.istio.io/subzone", ""),
        )
