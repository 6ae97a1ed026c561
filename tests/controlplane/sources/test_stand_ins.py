"""What stands in for a policy that can't be read says which one that is."""

from __future__ import annotations

import pytest

from controlplane.kinds.authorization_policy import AuthorizationPolicy
from controlplane.kinds.parse import parse
from controlplane.sources.held_shut import stand_ins

WRONG = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: Till & Co, namespace: {namespace}}}
spec: {{wrong: 1}}
"""


@pytest.mark.parametrize(
    ("namespace", "where"),
    [("shop", "in the namespace shop,"), ("istio-system", "in every namespace, as istio-system")],
)
def test_its_name_and_place_are_those_of_the_text(namespace: str, where: str) -> None:
    parsed = parse(WRONG.format(namespace=namespace), "a.yaml")
    ((made, status),) = stand_ins(parsed, (), "a.yaml", starting=True)
    assert isinstance(made, AuthorizationPolicy)
    assert made.name.startswith("unread-till-co-") and made.namespace == namespace
    assert made.spec.action == "DENY" and not made.spec.rules[0].to
    assert [str(rule.position) for rule in made.spec.rules] == ["a.yaml:3:18"]
    assert (status.code, str(status.position)) == ("HeldShut", "a.yaml:3:18")
    assert f"everything is denied {where}" in status.message
