"""Istio's AuthorizationPolicies with the filters that Istio makes of them: the same decisions.

Each input becomes filters by our translation and emission. Where the golden output is there our
filters must be equal to it, explanations aside, or decide alike: a grid of requests made from the
policies is put to a real Envoy with Istio's filters, to it with ours, to Weft's proxy with ours,
and to the offline evaluator. All must answer the same.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf import json_format
from google.protobuf.message import Message

from controlplane.authz.decide import decide
from controlplane.authz.inquiry import Inquiry
from controlplane.emit.access import Guards, http_filters, network_filters
from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Mesh
from controlplane.translate import build
from tests.conformance.suite import Result
from tests.support.authz_asked import here, refusing
from tests.support.authz_court import Court, Trial, Verdict, echo_server, foretold
from tests.support.authz_grid import grid
from tests.support.envoy import BINARY, envoy
from tests.support.ports import Reservation
from tests.support.weft_proxy import weft_proxy

_NAMED_IN_ANY = (
    "envoy.extensions.filters.http.rbac.v3.rbac_pb2",
    "envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2",
    "envoy.extensions.filters.network.rbac.v3.rbac_pb2",
    "envoy.extensions.filters.network.ext_authz.v3.ext_authz_pb2",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table, translated. golden: Istio's filters, None where a file is missing."""

    name: str
    http: bool
    guards: Guards
    golden: tuple[Message, ...] | None
    complaints: tuple[str, ...]

    def made(self) -> Sequence[Message]:
        """What is compared with the golden filters."""
        return http_filters(self.guards, 80) if self.http else network_filters(self.guards, 80)

    def judged(self, port: int, numbers: tuple[int, ...]) -> Sequence[Message]:
        """The same, with services that are there to be asked."""
        guards = replace(self.guards, authorizers=tuple(here(self.guards.authorizers)))
        if self.http:
            return http_filters(guards, port, numbers)
        return network_filters(guards, port, numbers)


def run(cases: Path) -> Iterator[Result]:
    for module in _NAMED_IN_ANY:
        import_module(module)
    table = json.loads((cases / "table.json").read_text())
    found = list(_cases(cases, table))
    for case in found:
        yield Result(f"{case.name}/filters", _difference(case))
    yield from asyncio.run(_judged(found))


# --------------------------------------------------------------------------- translation


def _cases(folder: Path, table: dict[str, Any]) -> Iterator[Case]:
    for kind, rows in table["cases"].items():
        for row in rows:
            source = folder / kind / row["input"]
            if source.exists():
                yield _case(f"{kind}/{row['name']}", kind == "http", row, table, source)


def _case(name: str, http: bool, row: dict[str, Any], table: dict[str, Any], path: Path) -> Case:
    bundle = row.get("tdBundle", {})
    settings = {"trustDomainAliases": bundle.get("aliases", []), **_mesh_config(row)}
    documents = [path.read_text(), yaml.safe_dump(_config_map(settings)), _SERVICE]
    parsed = parse("\n---\n".join(documents), name)
    inventory = Inventory()
    inventory.replace(Origin.file(name), parsed.objects, parsed.statuses)
    mesh, statuses = build(inventory.snapshot(), bundle.get("trustDomain", "cluster.local"))
    wanted = [path.parent / name for name in row["want"]]
    there = all(file.exists() for file in wanted)
    golden = tuple(_filter(file, http) for file in wanted) if there else None
    errors = tuple(str(s) for s in statuses if s.severity == "error")
    return Case(name, http, _guards(mesh, table), golden, errors)


def _guards(mesh: Mesh, table: dict[str, Any]) -> Guards:
    return Guards.of(mesh.security, table["proxy"]["namespace"], table["proxy"]["labels"])


_SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: my-custom-ext-authz, namespace: foo}
spec: {ports: [{port: 9000, name: grpc}]}
"""


def _config_map(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": yaml.safe_dump(settings)},
    }


def _mesh_config(row: dict[str, Any]) -> dict[str, Any]:
    """The table has Go's names of fields; a MeshConfig has them in camelCase."""
    providers = row.get("meshConfig", {}).get("ExtensionProviders", [])
    return {
        "extensionProviders": [
            {"name": one["Name"], **{_camel(k): _fields(v) for k, v in one["Provider"].items()}}
            for one in providers
        ]
    }


def _fields(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value.keys() <= {"Seconds", "Nanos"}:
        return f"{value.get('Seconds', 0) * 1000 + value.get('Nanos', 0) / 1e6:g}ms"
    return {_camel(k) if k[0].isupper() else k: _fields(v) for k, v in value.items()}


def _camel(name: str) -> str:
    return name[0].lower() + name[1:]


# --------------------------------------------------------------------------- equal filters


def _filter(path: Path, http: bool) -> Message:
    message: Message = hcm_pb2.HttpFilter() if http else Filter()
    return json_format.ParseDict(yaml.safe_load(path.read_text()), message)


def _difference(case: Case) -> str:
    """Empty where the filters are the same; where they differ the grid decides."""
    if case.golden is None:
        return ""
    wanted = [json_format.MessageToDict(one) for one in case.golden]
    made = [_unexplained(json_format.MessageToDict(one)) for one in case.made()]
    return "" if wanted == made else f"wanted {wanted}, made {made}; {case.complaints}"


def _unexplained(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _unexplained(v) for k, v in value.items() if k != "auditLoggingOptions"}
    return [_unexplained(item) for item in value] if isinstance(value, list) else value


# --------------------------------------------------------------------------- equal decisions


async def _judged(cases: list[Case]) -> list[Result]:
    trials = [_trial(case) for case in cases]
    expected = {case.name: [_decided(case, one) for one in _grid(case)] for case in cases}
    found: dict[str, dict[str, list[Verdict]]] = {}
    with tempfile.TemporaryDirectory() as name, Reservation() as reservation:
        async with echo_server() as echo_port, refusing() as clusters:
            for label, start in (("Envoy", envoy), ("Weft", weft_proxy)):
                if label == "Envoy" and not BINARY.exists():
                    continue
                court = Court(trials, Path(name), reservation, clusters, echo_port)
                with start(court.bootstrap(), Path(name)):
                    found[label] = await court.verdicts()
    return [_compared(trial, expected[trial.name], found) for trial in trials]


def _trial(case: Case) -> Trial:
    return Trial(case.name, case.http, case.judged, tuple(_grid(case)))


def _grid(case: Case) -> list[Inquiry]:
    return grid(case.guards.access, case.http)


def _decided(case: Case, inquiry: Inquiry) -> Verdict:
    decision = decide(case.guards.access, inquiry, case.guards.authorizers)
    return foretold(decision, case.http)


def _compared(
    trial: Trial, expected: list[Verdict], found: dict[str, dict[str, list[Verdict]]]
) -> Result:
    wrong: list[str] = []
    for who, verdicts in found.items():
        for inquiry, wanted, got in zip(
            trial.inquiries, expected, verdicts[trial.name], strict=True
        ):
            if got != wanted:
                wrong.append(f"{who} says {got}, offline it is {wanted}: {inquiry}")
    return Result(f"{trial.name}/decisions", "; ".join(wrong[:3]))
