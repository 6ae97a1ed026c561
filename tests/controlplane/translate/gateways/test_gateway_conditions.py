"""What Gateways, their classes and their routes are told of what is half right."""

from __future__ import annotations

import base64
import json

import pytest

from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.mesh.conditions import Condition, ObjectConditions
from controlplane.mesh.model import Mesh, Status
from controlplane.sources.kubernetes.conditions import edit_of
from controlplane.sources.kubernetes.edits import Fields
from controlplane.translate import build
from controlplane.translate.gateways.features import SUPPORTED
from tests.conformance.suites import known_failures
from tests.support.cases import case_folder
from tests.support.pki import Authority

API = "gateway.networking.k8s.io/v1"
SERVICE = (
    "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{name: http, port: 80}]}}"
)
HTTP = "{name: http, port: 80, protocol: HTTP}"
GOOD = "{backendRefs: [{name: s, port: 80}]}"


def built(*texts: str) -> tuple[Mesh, list[Status]]:
    parsed = parse("\n---\n".join(texts), "a.yaml")
    assert not parsed.has_errors, parsed.statuses
    inventory = Inventory()
    inventory.replace(Origin.file("a.yaml"), parsed.objects)
    mesh, statuses = build(inventory.snapshot(), "cluster.local")
    return mesh, [one for one in statuses if one.code != "ProtocolAssumed"]


def gateway(*listeners: str, more: str = "") -> str:
    spec = f"{{gatewayClassName: weft, listeners: [{', '.join(listeners)}]{more}}}"
    return f"{{apiVersion: {API}, kind: Gateway, metadata: {{name: edge}}, spec: {spec}}}"


def route(*rules: str, kind: str = "HTTPRoute", parent: str = "{name: edge}") -> str:
    spec = f"{{parentRefs: [{parent}], rules: [{', '.join(rules)}]}}"
    return f"{{apiVersion: {API}, kind: {kind}, metadata: {{name: a}}, spec: {spec}}}"


def told(mesh: Mesh, kind: str) -> ObjectConditions:
    return next(one for one in mesh.conditions if one.kind == kind)


def words(conditions: tuple[Condition, ...]) -> dict[str, str]:
    return {one.type: f"{one.status} {one.reason}" for one in conditions}


# --------------------------------------------------------------------------- patterns


def pattern(where: str) -> str:
    return f"{{matches: [{where}], backendRefs: [{{name: s, port: 80}}]}}"


BAD = [
    ("HTTPRoute", "{path: {type: RegularExpression, value: '(?=a)'}}"),
    ("HTTPRoute", "{headers: [{type: RegularExpression, name: a, value: '*'}]}"),
    ("HTTPRoute", "{queryParams: [{type: RegularExpression, name: a, value: '['}]}"),
    ("GRPCRoute", "{method: {type: RegularExpression, service: '('}}"),
    ("GRPCRoute", "{method: {type: RegularExpression, method: '('}}"),
    ("GRPCRoute", "{headers: [{type: RegularExpression, name: a, value: '*'}]}"),
]


@pytest.mark.parametrize(("kind", "match"), BAD)
@pytest.mark.parametrize("parent", ["{name: edge}", "{group: '', kind: Service, name: s}"])
def test_a_route_of_bad_patterns_is_not_accepted(kind: str, match: str, parent: str) -> None:
    mesh, statuses = built(SERVICE, gateway(HTTP), route(pattern(match), kind=kind, parent=parent))
    (one,) = told(mesh, kind).parents
    assert words(one.conditions) == {
        "Accepted": "False UnsupportedValue",
        "ResolvedRefs": "True ResolvedRefs",
    }
    (status,) = [one for one in statuses if one.code == "UnsupportedValue"]
    assert "spec.rules[0]: matches[0]." in status.message
    assert status.position.column > 100  # of the pattern, not of the route


@pytest.mark.parametrize("parent", ["{name: edge}", "{group: '', kind: Service, name: s}"])
def test_without_some_of_its_rules_a_route_is_partially_invalid(parent: str) -> None:
    both = route(pattern(BAD[0][1]), GOOD, parent=parent)
    mesh, _ = built(SERVICE, gateway(HTTP), both)
    (one,) = told(mesh, "HTTPRoute").parents
    assert words(one.conditions) == {
        "Accepted": "True Accepted",
        "ResolvedRefs": "True ResolvedRefs",
        "PartiallyInvalid": "True UnsupportedValue",
    }
    (partly,) = [one for one in one.conditions if one.type == "PartiallyInvalid"]
    assert partly.message.startswith("Dropped Rule: spec.rules[0]: ")


def test_a_match_of_a_bad_pattern_takes_nothing() -> None:
    matches = f"{BAD[0][1]}, {{path: {{value: /b}}}}"
    mesh, _ = built(SERVICE, gateway(HTTP), route(pattern(matches)))
    (rule,) = mesh.gateways[0].servers[0].virtual_hosts[0].rules
    assert rule.matches[0].uri is not None and rule.matches[0].uri.value == "/b"
    assert rule.direct_response is not None and rule.direct_response.status == 500


# --------------------------------------------------------------------------- overlaps


def secret(name: str, *hosts: str) -> str:
    pair = AUTHORITY.issue(dns=hosts)
    data = {"tls.crt": pair.certificate, "tls.key": pair.key}
    coded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    metadata = {"name": name}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": coded})


AUTHORITY = Authority()
WIDE, CLOSE, OTHER = (
    secret("wide", "*.A.com"),
    secret("close", "b.a.com"),
    secret("other", "c.com"),
)


def https(name: str, host: str, certificate: str, port: int = 443) -> str:
    tls = f"tls: {{certificateRefs: [{{name: {certificate}}}]}}"
    hostname = f"hostname: '{host}', " if host else ""
    return f"{{name: {name}, {hostname}port: {port}, protocol: HTTPS, {tls}}}"


def overlaps(*listeners: str) -> list[str]:
    mesh, _ = built(WIDE, CLOSE, OTHER, gateway(*listeners))
    found = (words(one.conditions) for one in told(mesh, "Gateway").listeners)
    return [one.get("OverlappingTLSConfig", "") for one in found]


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (("a.a.com", "wide"), ("b.a.com", "close"), "True OverlappingCertificates"),
        (("*.a.com", "wide"), ("b.a.com", "other"), "True OverlappingHostnames"),
        (("", "wide"), ("b.a.com", "close"), "True OverlappingCertificates"),
        (("a.a.com", "wide"), ("c.com", "other"), ""),
    ],
)
def test_https_listeners_whose_names_overlap_are_told(
    first: tuple[str, str], second: tuple[str, str], reason: str
) -> None:
    assert overlaps(https("one", *first), https("two", *second)) == [reason, reason]


def test_listeners_of_several_ports_do_not_overlap() -> None:
    assert overlaps(https("one", "a.com", "wide"), https("two", "a.com", "wide", 444)) == ["", ""]


def test_only_those_that_do_are_told() -> None:
    found = overlaps(
        https("one", "a.a.com", "wide"),
        https("two", "c.com", "other"),
        https("x", "b.a.com", "close"),
    )
    assert found == ["True OverlappingCertificates", "", "True OverlappingCertificates"]


# --------------------------------------------------------------------------- clients


@pytest.mark.parametrize(
    ("mode", "told_of"),
    [("AllowInsecureFallback", "True ConfigurationChanged"), ("AllowValidOnly", None)],
)
def test_a_gateway_that_takes_unverified_clients_says_so(mode: str, told_of: str | None) -> None:
    reference = "{group: '', kind: Secret, name: roots}"
    frontend = f"{{default: {{validation: {{mode: {mode}, caCertificateRefs: [{reference}]}}}}}}"
    roots = base64.b64encode(AUTHORITY.pem.encode()).decode()
    known = (
        f"{{apiVersion: v1, kind: Secret, metadata: {{name: roots}}, data: {{ca.crt: {roots}}}}}"
    )
    text = gateway(https("one", "c.com", "other"), more=f", tls: {{frontend: {frontend}}}")
    mesh, _ = built(OTHER, known, text)
    found = words(told(mesh, "Gateway").conditions)
    assert found.get("InsecureFrontendValidationMode") == told_of


# --------------------------------------------------------------------------- parameters


PARAMETERS = "{apiVersion: v1, kind: ConfigMap, metadata: {name: p}, data: {deployment: x}}"


@pytest.mark.parametrize(
    ("reference", "accepted"),
    [
        ("{group: '', kind: ConfigMap, name: p}", "True Accepted"),
        ("{group: '', kind: ConfigMap, name: q}", "False InvalidParameters"),
        ("{group: a.b, kind: ConfigMap, name: p}", "False InvalidParameters"),
    ],
)
def test_parameters_of_a_gateway_are_there_and_have_no_effect(
    reference: str, accepted: str
) -> None:
    more = f", infrastructure: {{parametersRef: {reference}}}"
    mesh, statuses = built(PARAMETERS, gateway(HTTP, more=more))
    assert words(told(mesh, "Gateway").conditions)["Accepted"] == accepted
    code = "NoEffect" if accepted.startswith("True") else "InvalidParameters"
    assert code in {one.code for one in statuses if "parametersRef" in one.message}


def test_parameters_of_a_class_are_looked_up_in_their_namespace() -> None:
    def conditions(namespace: str) -> dict[str, str]:
        reference = f"{{group: '', kind: ConfigMap, name: p, namespace: {namespace}}}"
        spec = f"{{controllerName: weft.dev/gateway-controller, parametersRef: {reference}}}"
        meta = "metadata: {name: mine}"
        text = f"{{apiVersion: {API}, kind: GatewayClass, {meta}, spec: {spec}}}"
        return words(told(built(PARAMETERS, text)[0], "GatewayClass").conditions)

    assert conditions("default")["Accepted"] == "True Accepted"
    assert conditions("elsewhere")["Accepted"] == "False InvalidParameters"


# --------------------------------------------------------------------------- policies


def test_an_ignored_policy_says_so() -> None:
    mesh, _ = built(
        SERVICE,
        f"""{{apiVersion: {API}, kind: BackendTLSPolicy, metadata: {{name: p, annotations:
        {{istio.io/ignore-policy-attachment: "true"}}}}, spec: {{validation: {{hostname: a.com,
        wellKnownCACertificates: System}},
        targetRefs: [{{group: "", kind: Service, name: s}}]}}}}""",
    )
    (one,) = told(mesh, "BackendTLSPolicy").parents
    assert (one.parent.name, words(one.conditions)) == ("s", {"Accepted": "False IgnoredByIstio"})
    assert all(service.port_policies == {} for service in mesh.services)


# --------------------------------------------------------------------------- features


def test_a_class_tells_the_features_that_it_has() -> None:
    text = f"""{{apiVersion: {API}, kind: GatewayClass, metadata: {{name: mine}},
      spec: {{controllerName: weft.dev/gateway-controller}}}}"""
    edit = edit_of(told(built(text)[0], "GatewayClass"), 3)
    assert isinstance(edit, Fields)
    assert edit.fields["supportedFeatures"] == [{"name": name} for name in sorted(SUPPORTED)]


def test_the_features_are_those_whose_conformance_tests_pass() -> None:
    table = json.loads((case_folder("gwapi-conformance") / "expected.shared.json").read_text())
    known = [one.case for one in known_failures() if one.suite == "gwapi-conformance"]
    failing = {name.partition("/")[2].rstrip("*") for name in known}
    passing: set[str] = set()
    for row in table:
        if not row["shortName"].startswith(tuple(failing)):
            passing |= set(row["features"])
    assert set(SUPPORTED) == {one for one in passing if not one.startswith("Mesh")}
