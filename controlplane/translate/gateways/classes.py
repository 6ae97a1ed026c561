"""Which GatewayClasses, and so which Gateways, are Weft's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.kinds.gateway_api.gateway import GatewayClass
from controlplane.mesh.conditions import CONTROLLERS, ObjectConditions
from controlplane.translate.gateways.features import SUPPORTED
from controlplane.translate.gateways.parameters import Parameters
from controlplane.translate.gateways.words import Fault, good, judged
from controlplane.translate.report import Report

BUILT_IN = dict(zip(("weft", "istio"), CONTROLLERS, strict=True))
"""Classes that are there without an object, and under which names of ours."""


class Classes:
    __slots__ = ("_others", "_ours", "_parameters", "_report")

    def __init__(
        self, classes: Iterable[GatewayClass], parameters: Parameters, report: Report
    ) -> None:
        found = tuple(classes)
        self._parameters = parameters
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
            if (reference := one.spec.parameters_ref) is not None:
                position = one.spec.at("parametersRef")
                fault = self._parameters.judge(one, reference, reference.namespace, position)
            if fault is not None:
                self._report.error(one, fault.position or one.position, fault.reason, fault.message)
            accepted = judged("Accepted", fault)
            conditions = (accepted, good("SupportedVersion"))
            yield ObjectConditions("GatewayClass", "", name, conditions, features=SUPPORTED)
