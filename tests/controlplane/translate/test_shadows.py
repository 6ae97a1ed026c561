"""Rules that no request can reach are told with the place of those that are before them."""

from __future__ import annotations

import pytest

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.translate import build

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{port: 80, name: http}]}
---
"""
HEAD = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http:
"""
TO = ", route: [{destination: {host: a}}]}"


def told(*matches: str) -> list[str]:
    """Statuses of rules with these lists of matches; the first rule stands in line 12."""
    rules = "".join(f"  - {{match: [{match}]{TO}\n" for match in matches)
    parsed = parse(SERVICE + HEAD + rules, "a.yaml")
    assert len(parsed.objects) == 2, parsed.statuses
    _, statuses = build(Snapshot(parsed.objects), "cluster.local")
    return [f"{one.severity} {one.position}: {one.message}" for one in statuses]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{uri: {prefix: /}}", "{uri: {exact: /a}}"),
        ("{uri: {prefix: /a}}", "{uri: {prefix: /a/b}}"),
        ("{uri: {prefix: /a}}", "{uri: {exact: /a}, method: {exact: GET}}"),
        ("{uri: {exact: /a}}", "{uri: {exact: /a}, port: 80}"),
        ("{uri: {regex: /a+}}", "{uri: {regex: /a+}, headers: {x: {exact: one}}}"),
        ("{uri: {prefix: /A}, ignoreUriCase: true}", "{uri: {prefix: /a/b}}"),
        ("{headers: {x: {prefix: o}}}", "{headers: {x: {exact: one}, z: {}}}"),
        ("{headers: {x: {}}}", "{headers: {x: {regex: '.*'}}}"),
        ("{sourceLabels: {app: b}}", "{sourceLabels: {app: b, v: c}, uri: {prefix: /b}}"),
        ("{queryParams: {q: {exact: '1'}}}", "{queryParams: {q: {exact: '1'}}}"),
        ("{withoutHeaders: {x: {}}}", "{withoutHeaders: {x: {}}, authority: {exact: a}}"),
        ("{authority: {prefix: a}}", "{authority: {exact: ab}}, {authority: {prefix: abc}}"),
    ],
)
def test_what_is_taken_already_is_told(first: str, second: str) -> None:
    never = "warning a.yaml:13:5: never reached: all that it matches is taken already, at a.yaml:12"
    assert told(first, second) == [f"{never}:5"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{uri: {prefix: /a/b}}", "{uri: {prefix: /a}}"),
        ("{uri: {exact: /a}}", "{uri: {prefix: /a}}"),
        ("{uri: {prefix: /a}}", "{uri: {prefix: /a}, ignoreUriCase: true}"),
        ("{uri: {regex: '/.*'}}", "{uri: {exact: /a}}"),
        ("{uri: {prefix: /a}, headers: {x: {}}}", "{uri: {prefix: /a}}"),
        ("{headers: {x: {exact: one}}}", "{headers: {x: {}}}"),
        ("{withoutHeaders: {x: {}}}", "{headers: {y: {}}}"),
        ("{method: {exact: GET}}", "{method: {exact: POST}}"),
        ("{port: 80}", "{port: 81}"),
        ("{sourceNamespace: b}", "{sourceNamespace: c}"),
    ],
)
def test_what_may_be_reached_is_not(first: str, second: str) -> None:
    assert told(first, second) == []


def test_a_match_of_a_rule_that_takes_nothing_is_a_note() -> None:
    """The rule is of use by its other match."""
    (note,) = told("{uri: {prefix: /a}}", "{uri: {prefix: /b}}, {uri: {exact: /a/c}}")
    assert note == "info a.yaml:13:35: takes nothing: the rule at a.yaml:12:5 has it already"
