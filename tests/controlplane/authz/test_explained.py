"""Questions in names, about manifests in files: who is meant, what a token is worth, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.authz.command import Question, Result, run
from controlplane.authz.tokens import verified
from controlplane.mesh.policy import TokenRule

MESH = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{port: 9080, name: http, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: data}
spec: {selector: {app: db}, ports: [{port: 5432, name: tcp}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews}
spec:
  selector: {matchLabels: {app: reviews}}
  template:
    metadata: {labels: {app: reviews}}
    spec: {serviceAccountName: critic, containers: [{name: a, ports: [{containerPort: 8080}]}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: db-1
  namespace: data
  annotations: {weft.dev/sidecar: "true", weft.dev/app-ports: '{"tcp": 5432}'}
spec: {address: 127.0.0.7, labels: {app: db}, serviceAccount: db, ports: {tcp: 20001}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reviews}
spec:
  selector: {matchLabels: {app: reviews}}
  rules:
  - from: [{source: {principals: [cluster.local/ns/data/sa/db]}}]
    to: [{operation: {ports: ["8080"], hosts: [reviews.default.svc.cluster.local]}}]
  - from: [{source: {requestPrincipals: [idp/*]}}]
    when: [{key: "request.auth.claims[scope]", values: [read]}]
  - to: [{operation: {methods: [HEAD]}}]
    when: [{key: "request.headers[x-ping]", values: ["*"]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: db, namespace: data}
spec:
  rules:
  - from: [{source: {namespaces: [default], ipBlocks: [10.0.0.0/8]}}]
    to: [{operation: {ports: ["5432"]}}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: idp}
spec: {jwtRules: [{issuer: idp, jwksUri: "https://idp.test/keys", audiences: [reviews]}]}
"""
TOKEN = {"iss": "idp", "sub": "ann", "aud": "reviews", "scope": "read write"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mesh.yaml").write_text(MESH)
    return tmp_path


def asked(folder: Path, source: str, target: str, **facts: Any) -> tuple[int, str]:
    result = run(folder, Question(source, target, **facts), "cluster.local")
    assert result.complaints == ()
    return result.code, result.text.splitlines()[0].replace(f"{folder}/", "")


RULE = "ALLOWED by ALLOW ns[default]-policy[reviews]-rule[{}] at mesh.yaml:{}:5"


def test_a_workload_a_service_and_an_account_may_be_named(folder: Path) -> None:
    for source in (
        "data/db-1",
        "data/db",
        "db.data",
        "db.data.svc.cluster.local",
        "cluster.local/ns/data/sa/db",
        "spiffe://cluster.local/ns/data/sa/db",
    ):
        assert asked(folder, source, "reviews") == (0, RULE.format(0, 35))
    for target in ("reviews", "reviews.default", "default/reviews", "critic"):
        code, text = asked(folder, "data/db", target, host="reviews.default.svc.cluster.local")
        assert (code, text) == (0, RULE.format(0, 35)), target


def test_a_client_without_a_certificate_may_ask(folder: Path) -> None:
    for source in ("-", "none", "192.0.2.1"):
        code, text = asked(folder, source, "reviews")
        assert (code, text.partition(":")[0]) == (1, "DENIED because no ALLOW policy applies")
    found = asked(folder, "-", "reviews", method="HEAD", headers={"X-Ping": ""})
    assert found == (0, RULE.format(2, 39))


def test_claims_count_where_their_token_would(folder: Path) -> None:
    assert asked(folder, "-", "reviews", claims=TOKEN) == (0, RULE.format(1, 37))
    wrong = asked(folder, "-", "reviews", claims=TOKEN | {"iss": "x"})
    assert wrong == (
        1,
        "DENIED (401): the token's issuer 'x' is none of those that count: idp at mesh.yaml:53:19",
    )
    code, text = asked(folder, "-", "reviews", claims=TOKEN | {"aud": ["a"]})
    assert (code, text[:13]) == (1, "DENIED (403):")


def test_a_tcp_port_is_asked_about_connections(folder: Path) -> None:
    code, text = asked(folder, "reviews", "data/db", source_ip="10.1.2.3")
    assert (code, text) == (0, "ALLOWED by ALLOW ns[data]-policy[db]-rule[0] at mesh.yaml:47:5")
    result = run(folder, Question("-", "data/db"), "cluster.local")
    assert "note: a TCP port" in result.text
    assert "note: the port takes mutual TLS only (STRICT)" in result.text


def test_the_workloads_port_is_asked_for(folder: Path) -> None:
    """A number, a name, or the service's own; a lone container port is known as well."""
    table = {"targetPort: 8080": [8080], "targetPort: web": [7070], "": [9080, 7070]}
    for target, ports in table.items():
        service = f"ports: [{{port: 9080, name: http, {target}}}]"
        text = MESH.replace("ports: [{port: 9080, name: http, targetPort: 8080}]", service)
        text = text.replace("containerPort: 8080", "name: web, containerPort: 7070")
        (folder / "mesh.yaml").write_text(text)
        found = run(folder, Question("-", "reviews"), "cluster.local", "json")
        (answer,) = json.loads(found.text)
        assert answer["ports"] == ports + [7070] * (target == "targetPort: 8080"), target


def test_json_has_the_same(folder: Path) -> None:
    result = run(folder, Question("data/db", "reviews", port=9080), "cluster.local", "json")
    (found,) = json.loads(result.text)
    assert found["outcome"] == "ALLOWED"
    assert found["ports"] == [8080]
    assert found["by"] == {
        "policy": "default/reviews",
        "action": "ALLOW",
        "rule": 0,
        "name": "ns[default]-policy[reviews]-rule[0]",
        "position": f"{folder}/mesh.yaml:35:5",
    }
    denied = run(folder, Question("-", "reviews"), "cluster.local", "json")
    (found,) = json.loads(denied.text)
    assert found["near"][0]["missed"][0]["field"] in ("principals", "methods", "requestPrincipals")
    assert [one["policy"] for one in found["none_of"]] == ["reviews"]


@pytest.mark.parametrize(
    ("question", "complaint"),
    [
        (Question("nobody", "reviews"), "--from: nobody is named 'nobody'"),
        (Question("-", "reviewz"), "--to: nobody is named 'reviewz' in this namespace; did you"),
        (Question("-", "reviews", port=1), "has no port 1 (it has 9080)"),
    ],
)
def test_what_can_not_be_told_is_exit_code_2(
    folder: Path, question: Question, complaint: str
) -> None:
    result = run(folder, question, "cluster.local")
    assert (result.code, result.text) == (2, "")
    assert complaint in result.complaints[0]


def test_a_missing_directory_is_exit_code_2(tmp_path: Path) -> None:
    result = run(tmp_path / "not", Question("-", "a"), "cluster.local")
    assert result == Result(
        2,
        "",
        (f"weft: error: the configuration directory {tmp_path}/not does not exist",),
    )


def test_policies_that_are_not_in_force_are_named(folder: Path) -> None:
    broken = MESH.replace("methods: [HEAD]", "methods: [{}]")
    (folder / "mesh.yaml").write_text(broken)
    result = run(folder, Question("-", "reviews"), "cluster.local")
    assert result.code == 1 and "policy[unread-" in result.text  # a start with it denies, too
    assert any("expected a string" in told for told in result.complaints)


def test_keys_that_are_looked_up_are_taken_for_there() -> None:
    """Offline nobody asks the issuer; one that can't be asked has none."""
    for issuer, status in (("https://idp.test", 0), ("idp", 401)):
        rule = TokenRule(issuer, discovers=issuer.startswith("https"))
        assert verified({"iss": issuer}, [rule]).status == status
