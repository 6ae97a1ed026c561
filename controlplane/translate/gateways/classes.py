"""Which GatewayClasses, and so which Gateways, are Weft's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.kinds.gateway_api.gateway import GatewayClass
from controlplane.mesh.conditions import CONTROLLERS, ObjectConditions
from controlplane.translate.gateways.words import Fault, good, judged
from controlplane.translate.report import Report

BUILT_IN = dict(zip(("weft", "istio"), CONTROLLERS, strict=True))
"""Classes that are there without an object, and under which names of ours."""


class Classes:
    __slots__ = ("_others", "_ours", "_report")

    def __init__(self, classes: Iterable[GatewayClass], report: Report) -> None:
        found = tuple(classes)
        self._report = report
        self._ours = {one.name: one for one in found if one.spec.controller_name in CONTROLLERS}
        self._others = {one.name for one in found} - self._ours.keys()

    def has(self, name: str) -> bool:
        return name in self._ours or (name in BUILT_IN and name not in self._others)

    def controller(self, name: str) -> str:
        """Under which name of ours a class is."""
        found = self._ours.get(name)
        return found.spec.controller_name if found is not None else BUILT_IN[name]

    def conditions(self) -> Iterator[ObjectConditions]:
        for name in sorted(self._ours):
            one = self._ours[name]
            fault: Fault | None = None
            if one.spec.parameters_ref is not None:
                fault = Fault("InvalidParameters", "parametersRef: no parameters are known")
                position = one.spec.at("parametersRef")
                self._report.error(one, position, fault.reason, fault.message)
            accepted = judged("Accepted", fault)
            version = good("SupportedVersion")
            yield ObjectConditions("GatewayClass", "", name, (accepted, version))
