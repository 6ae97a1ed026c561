"""Where a workload of a laptop stands, and who is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from weft import cli
from weft.bootstrap import Node, bootstrap
from weft.deployment import deployments
from weft.grpc_bootstrap import GrpcNode
from weft.locality import NOWHERE, Locality, read, written
from weft.manifest import read_file
from weft.registry import WorkloadEntry

DEPLOYMENT = """\
kind: Deployment
apiVersion: apps/v1
metadata: {name: web}
spec:
  template:
    metadata: {labels: {app: web%s}}
    spec:
      containers: [{command: [sleep, "1"]}]
%s
---
kind: Node
apiVersion: v1
metadata:
  name: m1
  labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: eu-1}
"""
SELECTOR = "      nodeSelector: {topology.kubernetes.io/region: us, topology.istio.io/subzone: r1}"


@pytest.mark.parametrize(
    ("label", "more", "where"),
    [
        ("", "", NOWHERE),
        ("", "      nodeName: m1", ("eu", "eu-1", "")),
        ("", "      nodeName: m2", NOWHERE),
        ("", SELECTOR, ("us", "", "r1")),
        ("", SELECTOR + "\n      nodeName: m1", ("us", "", "r1")),
        (", topology.kubernetes.io/region: asia", SELECTOR, ("asia", "", "")),
        (
            ", istio-locality: eu.eu-2.r2, topology.kubernetes.io/region: a",
            "",
            ("eu", "eu-2", "r2"),
        ),
        (", istio-locality: eu", "", ("eu", "", "")),
    ],
)
def test_a_deployment_stands_where_it_says(
    tmp_path: Path, label: str, more: str, where: Locality
) -> None:
    (file := tmp_path / "web.yaml").write_text(DEPLOYMENT % (label, more), "utf-8")
    assert [one.locality for one in deployments(read_file(file))] == [where]


def test_its_form_is_istios() -> None:
    assert read("eu/eu-1/r1") == ("eu", "eu-1", "r1")
    assert read("eu") == ("eu", "", "")
    assert [written(one) for one in (("eu", "", ""), ("eu", "", "r1"))] == ["eu", "eu//r1"]


@pytest.mark.parametrize("text", ["", "/a", "a/b/c/d", "eu/ b"])
def test_what_is_none_is_refused(text: str) -> None:
    arguments = ["run", "--service", "web", "--locality", text, "--", "sleep", "1"]
    result = CliRunner().invoke(cli.weft, arguments)
    assert result.exit_code == 2
    assert "is not a locality, such as eu/eu-west/rack-1" in result.output


def test_an_entry_and_grpc_are_told() -> None:
    entry = WorkloadEntry("web", "shop", "web", {}, {"http": 1}, {"http": 2}, locality="eu/eu-1")
    assert json.loads(entry.manifest())["spec"]["locality"] == "eu/eu-1"
    node = GrpcNode("web", "shop", "web", {}, ("eu", "eu-1", ""))
    assert node.content()["locality"] == {"region": "eu", "zone": "eu-1"}


def test_a_proxy_knows_where_it_is_and_asks_for_its_like_if_it_is_to() -> None:
    one = Node("web", "shop", "web", {}, "web", locality=("eu", "eu-1", ""))
    plain = bootstrap(one, xds_port=1, admin_port=2, root_file="r")
    assert plain["node"]["locality"] == {"region": "eu", "zone": "eu-1"}
    assert "cluster_manager" not in plain
    asking = Node("web", "shop", "web", {}, "web", said={"ENABLE_SELF_DISCOVERY": "true"})
    made = bootstrap(asking, xds_port=1, admin_port=2, root_file="r")
    assert "locality" not in made["node"]
    name = made["cluster_manager"]["local_cluster_name"]
    assert name in [one["name"] for one in made["static_resources"]["clusters"]]
