"""Gateway API's kinds: what real API servers refuse is refused, with its place; the rest is taken.

tests.conformance gwapi-schema judges by the cases of the project itself; here are rules that these
do not reach.
"""

from __future__ import annotations

import pytest
import yaml

from controlplane.kinds.gateway_api.gateway import Gateway, Requirement
from controlplane.kinds.gateway_api.http_route import HTTPRoute
from controlplane.kinds.gateway_api.l4_routes import TLSRoute
from controlplane.kinds.parse import parse

API = "gateway.networking.k8s.io/v1"


def errors(kind: str, spec: str, version: str = API) -> list[str]:
    text = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n"
    return [one.message for one in parse(text, "a.yaml").statuses if one.severity == "error"]


def http(rule: str) -> list[str]:
    return errors("HTTPRoute", f"{{rules: [{rule}]}}")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{matches: [{path: {value: a}}]}", "path.value: expected a path that begins with '/'"),
        ("{matches: [{path: {value: /a//b}}]}", "must not contain '//'"),
        ("{matches: [{path: {value: /a/..}}]}", "must not end with '/..'"),
        ("{filters: [{type: CORS}]}", "cors is required when type is CORS"),
        ("{filters: [{type: URLRewrite, cors: {}}]}", "urlRewrite is required"),
        ("{timeouts: {request: 1s, backendRequest: 2s}}", "must not be longer than request"),
        ("{timeouts: {request: 1.5s}}", "GEP-2257"),
        ("{retry: {codes: [500, 500]}}", "500 is given twice"),
        ("{retry: {codes: [200]}}", "an integer 400..599"),
        ("{backendRefs: [{name: a, port: 1, weight: 1000001}]}", "an integer 0..1000000"),
        (
            "{matches: [{path: {value: /a}}, {path: {value: /b}}], filters: [{type: URLRewrite, "
            "urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]}",
            "ReplacePrefixMatch needs exactly one match",
        ),
        (
            "{filters: [{type: RequestMirror, requestMirror: {percent: 1, fraction: {numerator: 1},"
            " backendRef: {name: a, port: 1}}}]}",
            "expected only one of percent and fraction",
        ),
        ("{sessionPersistence: {type: Header}}", "header is required when type is Header"),
        (
            "{sessionPersistence: {sessionName: a, cookieConfig: {lifetimeType: Permanent}}}",
            "absoluteTimeout is required",
        ),
        ("{sessionPersistence: {sessionName: a, cookie: {}}}", "cookie: must not stand beside"),
        (
            "{sessionPersistence: {type: Header, sessionName: a, cookieConfig: {}}}",
            "cookieConfig: must not be given when type is Header",
        ),
        ("{sessionPersistence: {sessionName: 'a;b'}}", "a name of a cookie or header"),
    ],
)
def test_rules_of_http_routes(rule: str, said: str) -> None:
    assert any(said in message for message in http(rule)), http(rule)


def test_a_long_header_value_is_refused_at_once() -> None:
    """The CRD's own pattern would look at it for years."""
    value = "a" * 4000 + "\x7f"
    spec = f"{{matches: [{{headers: [{{name: a, value: {yaml.safe_dump(value).strip()}}}]}}]}}"
    assert "visible ASCII" in http(spec)[0]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("[{name: a}, {name: a, sectionName: b}]", "must be given in every reference"),
        ("[{name: a, port: 1}, {name: a, port: 1}]", "as one before it does"),
    ],
)
def test_references_to_one_parent_tell_themselves_apart(spec: str, said: str) -> None:
    assert said in errors("HTTPRoute", f"{{parentRefs: {spec}}}")[0]
    assert not errors("HTTPRoute", "{parentRefs: [{name: a, port: 1}, {name: a, port: 2}]}")


def test_grpc_methods() -> None:
    def grpc(method: str) -> list[str]:
        return errors("GRPCRoute", f"{{rules: [{{matches: [{{method: {method}}}]}}]}}")

    assert not grpc("{service: a.B, method: C}")
    assert "is not the name of a gRPC method" in grpc("{method: 'a/b'}")[0]
    assert "needs a service" in grpc("{type: Exact}")[0]


def test_old_versions_have_their_own_rules() -> None:
    rules = "rules: [{backendRefs: [{name: a, port: 1}]}, {backendRefs: [{name: b, port: 1}]}]"
    assert errors("TLSRoute", f"{{{rules}}}")
    old = f"{API.removesuffix('v1')}v1alpha2"
    assert not errors("TLSRoute", f"{{{rules}}}", old)
    found = parse(
        f"apiVersion: {old}\nkind: TLSRoute\nmetadata: {{name: x}}\nspec: {{{rules}}}", "a"
    )
    assert isinstance(found.objects[0], TLSRoute)
    assert found.objects[0].key.kind == "TLSRoute"


def test_two_kinds_are_called_gateway() -> None:
    ours = "{gatewayClassName: istio, listeners: [{name: a, port: 80, protocol: HTTP}]}"
    istios = "{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}]}"
    text = (
        f"apiVersion: {API}\nkind: Gateway\nmetadata: {{name: x}}\nspec: {ours}\n---\n"
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: x}\n"
        f"spec: {istios}\n"
    )
    found = parse(text, "a.yaml")
    kinds = [item.key.kind for item in found.objects]
    assert kinds == ["Gateway.gateway.networking.k8s.io", "Gateway"]
    broken = parse(text.replace("port: 80,", "port: 0,"), "a.yaml")
    assert [key.kind for key in broken.failed] == kinds[:1]


def test_defaults_are_those_of_the_crds() -> None:
    text = (
        f"apiVersion: {API}\nkind: Gateway\nmetadata: {{name: x}}\nspec: {{gatewayClassName: c, "
        "listeners: [{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: s}]}}]}\n"
        f"---\napiVersion: {API}\nkind: HTTPRoute\nmetadata: {{name: route}}\nspec: {{}}\n"
    )
    gateway, route = parse(text, "a.yaml").objects
    assert isinstance(gateway, Gateway) and isinstance(route, HTTPRoute)
    (listener,) = gateway.spec.listeners
    assert listener.allowed_routes.namespaces.source == "Same"
    assert listener.tls is not None and listener.tls.certificate_refs[0].kind == "Secret"
    assert gateway.spec.allowed_listeners.namespaces.source == "None"
    assert route.spec.rules[0].matches[0].path.value == "/"


@pytest.mark.parametrize(
    ("operator", "values", "takes"),
    [
        ("In", ("x",), [False, True, False]),
        ("NotIn", ("x",), [True, False, True]),
        ("Exists", (), [False, True, True]),
        ("DoesNotExist", (), [True, False, False]),
    ],
)
def test_selectors(operator: str, values: tuple[str, ...], takes: list[bool]) -> None:
    one = Requirement(key="a", operator=operator, values=values)
    assert [one.takes(labels) for labels in ({}, {"a": "x"}, {"a": "y"})] == takes


@pytest.mark.parametrize(("operator", "values"), [("Like", ("x",)), ("In", ()), ("Exists", ("x",))])
def test_a_requirement_that_can_not_be_meant_takes_nothing(
    operator: str, values: tuple[str, ...]
) -> None:
    one = Requirement(key="a", operator=operator, values=values)
    assert one.fault
    assert not one.takes({"a": "x"})
