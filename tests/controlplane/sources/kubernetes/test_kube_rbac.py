"""examples/kubernetes/rbac.yaml allows what the control plane asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from controlplane.sources.kubernetes.wanted import groups, plan
from tests.support.kube_cluster import BUILT_IN, CRDS, Kind
from tests.support.kube_direct import resource_of

RULES = Path(__file__).parents[4] / "examples" / "kubernetes" / "rbac.yaml"


def documents(kind: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(RULES.read_text("utf-8")) if one["kind"] == kind]


def allows(rules: list[dict[str, Any]], verb: str, group: str, plural: str) -> bool:
    return any(
        verb in rule["verbs"]
        and group in rule["apiGroups"]
        and (plural in rule["resources"] or "*" in rule["resources"])
        for rule in rules
    )


def test_every_kind_may_be_followed() -> None:
    (role,) = documents("ClusterRole")
    followed = plan(resource_of(kind, version) for kind in _kinds() for version in kind.versions)
    assert len(followed.followed) > 10
    for one in followed.followed:
        for verb in ("get", "list", "watch"):
            resource = one.resource
            assert allows(role["rules"], verb, resource.group, resource.plural), resource
    named = {group for rule in role["rules"] for group in rule["apiGroups"]}
    assert groups() <= named


def test_nothing_but_statuses_and_the_lease_may_be_written() -> None:
    (role,) = documents("ClusterRole")
    for rule in role["rules"]:
        if set(rule["verbs"]) - {"get", "list", "watch"}:
            assert rule["verbs"] == ["update"]
            assert all(name.endswith("/status") for name in rule["resources"])
    (leases,) = documents("Role")
    assert leases["rules"] == [
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["create", "get", "update"],
        }
    ]


def _kinds() -> tuple[Kind, ...]:
    return (*BUILT_IN, *CRDS)
