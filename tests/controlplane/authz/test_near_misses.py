"""A decision names the rule, and the rules that nearly decided otherwise, nearest first."""

from __future__ import annotations

from typing import Any

from controlplane.authz.decide import Decision, decide
from controlplane.authz.inquiry import Inquiry, normalized
from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.translate import build

WEB = "spiffe://cluster.local/ns/default/sa/web"
HEAD = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: %s}\nspec: "


def decided(policies: dict[str, str], **facts: Any) -> Decision:
    text = "\n---\n".join(HEAD % name + spec for name, spec in policies.items())
    parsed = parse(text, "p.yaml")
    assert not parsed.has_errors, parsed.statuses
    mesh, _ = build(Snapshot(parsed.objects), "cluster.local")
    facts.setdefault("identity", WEB)
    return decide(mesh.security.access, Inquiry(**facts), mesh.security.authorizers)


def near(decision: Decision) -> list[tuple[str, list[str]]]:
    return [(one.name, [str(missed) for missed in one.missed]) for one in decision.near]


ALLOW = """{rules: [
  {from: [{source: {principals: [cluster.local/ns/default/sa/shop]}}],
   to: [{operation: {methods: [PUT]}}]},
  {from: [{source: {principals: [cluster.local/ns/a/sa/b, "*/sa/c"]}},
          {source: {namespaces: [other]}}],
   to: [{operation: {methods: [GET]}}]},
  {from: [{source: {principals: ["*"], notPrincipals: ["*/sa/web"]}}]}]}"""


def test_the_nearest_comes_first_with_what_was_and_what_was_wanted() -> None:
    found = decided({"a": ALLOW})
    assert (found.outcome, found.by) == ("DENIED", None)
    assert [policy.name for policy in found.none_of] == ["a"]
    assert near(found) == [
        (
            "ns[default]-policy[a]-rule[1]",
            [f"principals: was {WEB}, wanted cluster.local/ns/a/sa/b or */sa/c"],
        ),
        ("ns[default]-policy[a]-rule[2]", [f"principals: {WEB} is excluded by */sa/web"]),
        (
            "ns[default]-policy[a]-rule[0]",
            [
                f"principals: was {WEB}, wanted cluster.local/ns/default/sa/shop",
                "methods: was GET, wanted PUT",
            ],
        ),
    ]
    assert str(found.near[0].missed[0].clause.position) == "p.yaml:7:33"


def test_what_nearly_denied_is_told_of_what_was_allowed() -> None:
    deny = "{action: DENY, rules: [{to: [{operation: {paths: [/admin*]}}]}]}"
    found = decided({"d": deny}, path="/index")
    assert found.outcome == "ALLOWED"
    assert near(found) == [("ns[default]-policy[d]-rule[0]", ["paths: was /index, wanted /admin*"])]


def test_who_denied_is_enough() -> None:
    deny = "{action: DENY, rules: [{}, {to: [{operation: {paths: [/x]}}]}]}"
    found = decided({"d": deny, "a": ALLOW})
    assert found.by is not None
    assert (found.by.name, str(found.by.rule.position)) == (
        "ns[default]-policy[d]-rule[0]",
        "p.yaml:4:30",
    )
    assert found.near == ()


def test_at_most_five_are_named() -> None:
    rules = ", ".join(f"{{to: [{{operation: {{paths: [/{n}]}}}}]}}" for n in range(8))
    assert len(decided({"a": f"{{rules: [{rules}]}}"}).near) == 5


def test_what_is_not_there_is_absent() -> None:
    rule = """{rules: [{from: [{source: {requestPrincipals: ["a/*"], ipBlocks: [10.0.0.1]}}],
      when: [{key: "request.headers[x-a]", values: [b]}, {key: connection.sni, values: [c]},
             {key: "request.auth.claims[d]", values: [e]}]}]}"""
    (found,) = decided({"a": rule}, identity="").near
    assert [str(missed) for missed in found.missed] == [
        "requestPrincipals: was absent, wanted a/*",
        "ipBlocks: was absent, wanted 10.0.0.1",
        "request.headers[x-a]: was absent, wanted b",
        "connection.sni: was absent, wanted c",
        "request.auth.claims[d]: was absent, wanted e",
    ]


def test_a_connection_says_that_a_rule_asks_about_http() -> None:
    found = decided({"a": "{rules: [{to: [{operation: {methods: [GET]}}]}]}"}, http=False)
    assert found.outcome == "DENIED"
    assert near(found) == [("ns[default]-policy[a]-rule[0]", [])]


def test_a_dry_run_decides_nothing_and_says_what_it_would() -> None:
    text = HEAD.replace("{name: %s}", '{name: dry, annotations: {istio.io/dry-run: "true"}}')
    for spec, denies, names in (
        ("{action: DENY, rules: [{}]}", True, ["ns[default]-policy[dry]-rule[0]"]),
        ("{rules: [{}]}", False, ["ns[default]-policy[dry]-rule[0]"]),
        ("{rules: [{to: [{operation: {methods: [PUT]}}]}]}", True, []),
    ):
        mesh, _ = build(Snapshot(parse(text + spec, "p").objects), "cluster.local")
        found = decide(mesh.security.access, Inquiry(identity=WEB))
        assert (found.outcome, found.by) == ("ALLOWED", None)
        assert (found.would_deny, [one.name for one in found.would]) == (denies, names)


def test_paths_are_normalized_as_the_proxies_do() -> None:
    table = {
        "/a/b": "/a/b",
        "/": "/",
        "/a/../b": "/b",
        "/../../b": "/b",
        "/a/./b/.": "/a/b/",
        "/a/..": "/",
        "/a\\b": "/a/b",
        "/%61%2E%2e%7e%5F": "/a..~_",
        "/%2f%20": "/%2f%20",
        "/a/..;x/b": "/b",
        "/a/.;/%2e%2e;/b": "/a/..;/b",
        '/a|"^{}<>`\u00e4[]': "/a%7C%22%5E%7B%7D%3C%3E%60%C3%A4[]",
    }
    assert {path: normalized(path) for path in table} == table


def test_a_socket_has_no_ipv4_address_in_ipv6_clothes() -> None:
    allow = "{rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}"
    assert decided({"a": allow}, source_ip="::ffff:10.1.2.3").outcome == "ALLOWED"
    assert decided({"a": allow}, source_ip="::ffff:11.1.2.3").outcome == "DENIED"
    assert decided({"a": allow}, source_ip="name").outcome == "DENIED"
    told = allow.replace("ipBlocks", "remoteIpBlocks")
    assert decided({"a": told}, source_ip="::ffff:10.1.2.3").outcome == "ALLOWED"
    assert decided({"a": told}, remote_ip="::ffff:10.1.2.3").outcome == "DENIED"
