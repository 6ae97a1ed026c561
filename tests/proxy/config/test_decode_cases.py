"""Route tables and Envoy Gateway's resources: never accepted where Envoy 1.40 refuses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.config.route.v3 import route_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from protos.types import CDS, EDS, LDS, RDS, SDS
from proxy.config.decode import RESOURCES, decode
from proxy.config.rejected import Rejected
from proxy.config.yaml_message import Reader
from tests.support.cases import case_folder

KINDS = {"clusters": CDS, "endpoints": EDS, "listeners": LDS, "routes": RDS, "secrets": SDS}
UNSUPPORTED = "not supported"


def verdict(type_url: str, node: Any) -> str:
    """'' if the resource in a YAML node is accepted, else why not."""
    kind = RESOURCES[type_url]
    message: Message = kind.message()
    try:
        Reader().read(node, message)
        if not getattr(message, kind.name_field):
            setattr(message, kind.name_field, "unnamed")
        decode(type_url, message.SerializeToString())
    except Rejected as error:
        return str(error)
    return ""


def test_route_tables_are_judged_as_envoy_judges_them() -> None:
    cases = json.loads((case_folder("envoy-route-diff") / "cases.shared.json").read_text())
    wrong = []
    accepted = 0
    for case in cases:
        node = yaml.compose(json.dumps(case["routeConfiguration"]), yaml.SafeLoader)
        why = verdict(RDS, node)
        accepted += not why
        if case["envoy"] == "reject" and not why:
            wrong.append(f"{case['source']}: accepted, Envoy: {case.get('message')}")
        if case["envoy"] == "accept" and why and UNSUPPORTED not in why:
            wrong.append(f"{case['source']}: {why}")
    assert wrong == []
    assert accepted > 25


def test_what_envoy_does_not_acknowledge_we_do_not_either() -> None:
    folder = case_folder("envoy-gateway-golden")
    files = {path.name: path for path in (folder / "xds" / "translator").rglob("*.yaml")}
    verdicts = json.loads((folder / "envoy-1.40.0.ads.shared.json").read_text())
    wrong = []
    judged = 0
    for name, found in verdicts.items():
        for kind, envoy in found.items():
            nodes = resources(files.get(f"{name}.{kind}.yaml"))
            reasons = [verdict(KINDS[kind], node) for node in nodes]
            judged += bool(reasons)
            if envoy != "ACK" and reasons and not any(reasons):
                wrong.append(f"{name}.{kind}: acknowledged, Envoy: {envoy}")
            if envoy == "ACK":
                wrong += [f"{name}.{kind}: {why}" for why in reasons if is_wrong(why)]
    assert wrong == []
    assert judged > 300


def is_wrong(why: str) -> bool:
    return bool(why) and UNSUPPORTED not in why


def resources(path: Path | None) -> list[yaml.Node]:
    if path is None:
        return []
    root = yaml.compose(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert isinstance(root, yaml.SequenceNode)
    return list(root.value)


def test_the_reader_agrees_with_protobufs_own_on_a_message_of_many_kinds() -> None:
    """Struct, Duration, wrappers, enums, oneofs, maps: read by us and by json_format."""
    plain = {
        "name": "r",
        "virtualHosts": [
            {
                "name": "a",
                "domains": ["*"],
                "requireTls": "ALL",
                "routes": [
                    {
                        "match": {"prefix": "/", "caseSensitive": False},
                        "route": {"cluster": "a", "timeout": "1.5s", "maxGrpcTimeout": "0s"},
                        "metadata": {"filterMetadata": {"x": {"n": 1.5, "l": [True, None, "s"]}}},
                    }
                ],
            }
        ],
        "maxDirectResponseBodySizeBytes": 7,
    }
    ours, theirs = route_pb2.RouteConfiguration(), route_pb2.RouteConfiguration()
    node: Any = yaml.compose(json.dumps(plain), yaml.SafeLoader)
    Reader().read(node, ours)
    json_format.ParseDict(plain, theirs)
    assert ours == theirs


@pytest.mark.parametrize("text", ["{a: 1}", "[1]", "x", "~"])
def test_a_resource_that_is_none_is_refused(text: str) -> None:
    assert verdict(CDS, yaml.compose(text, yaml.SafeLoader))
