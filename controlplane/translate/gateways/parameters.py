"""parametersRef of Gateways and GatewayClasses: Istio's kind of them, a ConfigMap.

It says how the Deployment of a gateway's proxies shall be. Weft starts no proxies, so it has no
effect, as other fields of `infrastructure`; but what it refers to must be there.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.kinds.core import ConfigMap
from controlplane.kinds.gateway_api.references import Referring
from controlplane.kinds.objects import Object
from controlplane.mesh.position import Position
from controlplane.translate.gateways.words import Fault
from controlplane.translate.report import Report


class Parameters:
    __slots__ = ("_known", "_report")

    def __init__(self, config_maps: Iterable[ConfigMap], report: Report) -> None:
        self._known = {(one.namespace, one.name) for one in config_maps}
        self._report = report

    def judge(
        self, owner: Object, reference: Referring, namespace: str, position: Position
    ) -> Fault | None:
        """What is wrong with the reference; of a good one it is told that it has no effect."""
        if (reference.group, reference.kind) != ("", "ConfigMap"):
            named = f"{reference.group or 'core'}/{reference.kind}"
            message = f"parametersRef: {named} is not known; it can be a ConfigMap"
            return Fault("InvalidParameters", message, position)
        if (namespace, reference.name) not in self._known:
            message = f"parametersRef: there is no ConfigMap {namespace}/{reference.name}"
            return Fault("InvalidParameters", message, position)
        message = "parametersRef: Weft starts no proxies, so nothing gets these"
        self._report.info(owner, position, "NoEffect", message)
        return None
