"""Istio's AuthorizationPolicies with the filters that Istio makes of them: the same decisions.

Each input becomes filters by our translation and emission. A grid of requests made from the
policies is put to a real Envoy, to Weft's proxy and to the offline evaluator: all must answer the
same, and so must Envoy with Istio's own filters where these differ from ours. Who is asked by
CUSTOM says no.
"""

from __future__ import annotations

import asyncio
import json
import re
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

    def judged_golden(self, port: int, numbers: tuple[int, ...]) -> Sequence[Message]:
        """Istio's filters for this listener's port, asking the services that are there."""
        return [_brought_here(one, port, numbers) for one in self.golden or ()]


def run(cases: Path) -> Iterator[Result]:
    for module in _NAMED_IN_ANY:
        import_module(module)
    table = json.loads((cases / "table.json").read_text())
    yield from asyncio.run(_judged(list(_cases(cases, table))))


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
    return json_format.ParseDict(yaml.load(path.read_text(), yaml.CSafeLoader), message)


def _is_equal(case: Case) -> bool:
    """Explanations aside, which Envoy ignores."""
    assert case.golden is not None
    wanted = [json_format.MessageToDict(one) for one in case.golden]
    return wanted == [_unexplained(json_format.MessageToDict(one)) for one in case.made()]


def _unexplained(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _unexplained(v) for k, v in value.items() if k != "auditLoggingOptions"}
    return [_unexplained(item) for item in value] if isinstance(value, list) else value


def _brought_here(message: Message, port: int, numbers: tuple[int, ...]) -> Message:
    text = json_format.MessageToJson(message, indent=None)
    for number in numbers:
        text = text.replace(f'"destinationPort": {number}}}', f'"destinationPort": {port}}}')
    protocol = "http" if '"httpService"' in text else "grpc"
    text = text.replace(
        "outbound|9000||my-custom-ext-authz.foo.svc.cluster.local",
        f"outbound|9000||{protocol}.asked",
    )
    text = re.sub(r'"timeout": "[0-9.]+s"', '"timeout": "10s"', text)
    return json_format.Parse(text, type(message)())


# --------------------------------------------------------------------------- equal decisions


async def _judged(cases: list[Case]) -> list[Result]:
    """For each case `filters`, where the golden ones are there, and `decisions`."""
    ours = [Trial(case.name, case.http, case.judged, tuple(_grid(case))) for case in cases]
    differing = [case for case in cases if case.golden is not None and not _is_equal(case)]
    theirs = [Trial(_golden(c), c.http, c.judged_golden, tuple(_grid(c))) for c in differing]
    found: dict[str, list[Verdict]] = {}
    with tempfile.TemporaryDirectory() as name, Reservation() as reservation:
        async with echo_server() as echo_port, refusing() as clusters:
            for label, start in (("Envoy", envoy), ("Weft", weft_proxy)):
                if label == "Envoy" and not BINARY.exists():
                    continue
                trials = [*ours, *theirs] if label == "Envoy" else ours
                court = Court(trials, Path(name), reservation, clusters, echo_port)
                with start(court.bootstrap(), Path(name)):
                    verdicts = await court.verdicts()
                found |= {f"{label} {trial}": given for trial, given in verdicts.items()}
    kept = [case for case in cases if case.golden is not None]
    return [
        *(Result(f"{c.name}/decisions", _compared(c, c.name, found)) for c in cases),
        *(Result(f"{c.name}/filters", _compared(c, _golden(c), found)) for c in kept),
    ]


def _golden(case: Case) -> str:
    return f"{case.name} (Istio's filters)"


def _grid(case: Case) -> list[Inquiry]:
    return grid(case.guards.access, case.http)


def _decided(case: Case, inquiry: Inquiry) -> Verdict:
    decision = decide(case.guards.access, inquiry, case.guards.authorizers)
    return foretold(decision, case.http)


def _compared(case: Case, trial: str, found: dict[str, list[Verdict]]) -> str:
    """Where a proxy that ran `trial` decides otherwise than foretold; '' where nothing does."""
    wrong: list[str] = []
    for who in ("Envoy", "Weft"):
        if (given := found.get(f"{who} {trial}")) is None:
            continue
        for inquiry, got in zip(_grid(case), given, strict=True):
            if (wanted := _decided(case, inquiry)) != got:
                wrong.append(f"{who} {trial}: {got}, offline it is {wanted}: {inquiry}")
    return "; ".join(wrong[:3])
