"""Values of policies that nothing ever equals are told, with their place; all others are not."""

from __future__ import annotations

import pytest

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.translate import build

POLICY = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: a}}
spec: {{rules: [{{{rule}}}]}}
"""
SOURCE, OPERATION = "from: [{source: {%s}}]", "to: [{operation: {%s}}]"


def told(rule: str) -> list[str]:
    parsed = parse(POLICY.format(rule=rule), "a.yaml")
    assert parsed.objects, parsed.statuses
    _, statuses = build(Snapshot(parsed.objects), "cluster.local")
    return [f"{one.position} {one.message}" for one in statuses if one.code == "NeverMatches"]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (SOURCE % "principals: [a/ns/b/sa/c, spiffe://a/ns/b/sa/c]", "principals[1]: nothing is "
         "ever 'spiffe://a/ns/b/sa/c'; principals stand without spiffe://: a/ns/b/sa/c"),
        (SOURCE % "notPrincipals: [web]", "notPrincipals[0]: nothing is ever 'web'; a principal"),
        (SOURCE % "namespaces: [ns/shop]", "a namespace's name has no slash"),
        (SOURCE % "requestPrincipals: [ann]", "ISSUER/SUBJECT"),
        (OPERATION % "methods: [get]", "told apart by case: GET"),
        (OPERATION % "notPaths: [api]", "paths begin with a slash: /api"),
        (OPERATION % "hosts: ['http://a.test']", "a host is a name"),
        ("when: [{key: source.principal, notValues: [spiffe://a]}]", "when[0].notValues[0]"),
        ("when: [{key: request.auth.principal, values: [ann]}]", "ISSUER/SUBJECT"),
    ],
)  # fmt: skip
def test_slips_are_told(rule: str, why: str) -> None:
    (found,) = told(rule)
    assert found.startswith("a.yaml:4:") and why in found


@pytest.mark.parametrize(
    "rule",
    [
        SOURCE % "principals: ['*', a/ns/b/sa/c, '*/sa/c'], requestPrincipals: ['*', idp/ann]",
        SOURCE % "namespaces: ['shop-*']",
        OPERATION % "methods: [GET, brew, '*'], paths: [/a, '*', '*/b', '/{*}'], hosts: ['a:80']",
        "when: [{key: 'request.headers[x]', values: [spiffe://a, get]}]",
    ],
)
def test_what_may_be_is_not(rule: str) -> None:
    assert told(rule) == []
