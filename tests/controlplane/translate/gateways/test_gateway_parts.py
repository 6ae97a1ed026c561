"""The rules by which routes come to listeners: host names, order, filters, conflicts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.mesh.conditions import ObjectConditions
from controlplane.mesh.model import HttpRule, Mesh, RouteMatch, StringMatch
from controlplane.translate import build
from controlplane.translate.gateways.hosts import closeness, common, covers, in_common
from controlplane.translate.gateways.precedence import rank

API = "gateway.networking.k8s.io/v1"


def translated(*texts: str) -> Mesh:
    parsed = parse("\n---\n".join(texts), "a.yaml")
    assert not parsed.has_errors, parsed.statuses
    inventory = Inventory()
    inventory.replace(Origin.file("a.yaml"), parsed.objects)
    return build(inventory.snapshot(), "cluster.local")[0]


def gateway(*listeners: str, name: str = "edge") -> str:
    spec = f"{{gatewayClassName: weft, listeners: [{', '.join(listeners)}]}}"
    return f"{{apiVersion: {API}, kind: Gateway, metadata: {{name: {name}}}, spec: {spec}}}"


def route(spec: str, name: str = "a", kind: str = "HTTPRoute") -> str:
    meta = f"metadata: {{name: {name}}}"
    spec = f"{{parentRefs: [{{name: edge}}], {spec}}}"
    return f"{{apiVersion: {API}, kind: {kind}, {meta}, spec: {spec}}}"


SERVICE = (
    "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{name: http, port: 80}]}}"
)
HTTP = "{name: http, port: 80, protocol: HTTP}"


def told(mesh: Mesh, kind: str, name: str) -> ObjectConditions:
    return next(one for one in mesh.conditions if (one.kind, one.name) == (kind, name))


def rules_of(*texts: str) -> tuple[HttpRule, ...]:
    (made,) = translated(SERVICE, gateway(HTTP), *texts).gateways
    return made.servers[0].virtual_hosts[0].rules


# --------------------------------------------------------------------------- hosts


@pytest.mark.parametrize(
    ("listener", "hosts", "found"),
    [
        ("", (), ("*",)),
        ("", ("a.com",), ("a.com",)),
        ("a.com", (), ("a.com",)),
        ("a.com", ("*.com", "b.com"), ("a.com",)),
        ("*.a.com", ("b.a.com", "a.com", "*.b.a.com"), ("b.a.com", "*.b.a.com")),
        ("*.a.com", ("*.com",), ("*.a.com",)),
        ("a.com", ("b.com",), ()),
    ],
)
def test_hosts_in_common(listener: str, hosts: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert in_common(listener, hosts) == found


NAMES = st.sampled_from(["*", "*.com", "*.a.com", "a.com", "b.a.com", "*.b.a.com", "c.org"])


@given(NAMES, NAMES, NAMES)
def test_what_is_common_is_covered_by_both(one: str, other: str, third: str) -> None:
    found = common(one, other)
    assert found == common(other, one)
    assert not found or (covers(one, found) and covers(other, found))
    if covers(one, other) and covers(other, third):
        assert covers(one, third)
    if covers(one, other) and one != other:
        assert closeness(one) < closeness(other)


# --------------------------------------------------------------------------- order


def test_the_order_of_matches_is_the_specifications() -> None:
    exact = RouteMatch(uri=StringMatch("exact", "/a"))
    longer = RouteMatch(uri=StringMatch("prefix", "/abc"), whole_segments=True)
    method = RouteMatch(uri=StringMatch("prefix", "/a"), method=StringMatch("exact", "GET"))
    headers = RouteMatch(uri=StringMatch("prefix", "/a"), headers={"a": None, "b": None})
    header = RouteMatch(uri=StringMatch("prefix", "/a"), headers={"a": None})
    query = RouteMatch(uri=StringMatch("prefix", "/a"), query_params={"a": None})
    prefix = RouteMatch(uri=StringMatch("prefix", "/a"))
    expression = RouteMatch(uri=StringMatch("regex", "/a.*"))
    wanted = [exact, longer, method, headers, header, query, prefix, RouteMatch(), expression]
    backwards = wanted[::-1]
    assert sorted(backwards, key=rank) == wanted


def test_the_oldest_route_goes_first() -> None:
    rule = "rules: [{backendRefs: [{name: s, port: 80}]}]"
    young = route(rule, "a").replace("name: a}", "name: a, creationTimestamp: '2026'}", 1)
    old = route(rule, "b").replace("name: b}", "name: b, creationTimestamp: '2025'}", 1)
    names = [one.name for one in rules_of(young, old)]
    assert names == ["default.b.0", "default.a.0"]


# --------------------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("prefix", "into", "path", "found"),
    [
        ("/a", "/b", "/a/c", "/b/c"),
        ("/a/", "/b/", "/a/c", "/b/c"),
        ("/a", "/", "/a/c", "/c"),
        ("/a", "/", "/a", "/"),
        ("/a", '""', "/a/", "/"),
        ("/", "/b", "/c", "/b/c"),
        ("/a.b", "/x", "/a.b/c", "/x/c"),
    ],
)
def test_a_prefix_is_replaced(prefix: str, into: str, path: str, found: str) -> None:
    new = f"path: {{type: ReplacePrefixMatch, replacePrefixMatch: {into}}}"
    filters = f"[{{type: URLRewrite, urlRewrite: {{{new}}}}}]"
    match = f"matches: [{{path: {{value: {prefix}}}}}]"
    text = f"rules: [{{{match}, filters: {filters}, backendRefs: [{{name: s, port: 80}}]}}]"
    (rule,) = rules_of(route(text))
    assert rule.rewrite is not None
    assert re.sub(rule.rewrite.pattern, rule.rewrite.substitution, path, count=1) == found


def test_a_redirect_names_a_port_that_does_not_go_without_saying() -> None:
    def port(redirect: str) -> int | None:
        filters = f"[{{type: RequestRedirect, requestRedirect: {{{redirect}}}}}]"
        (rule,) = rules_of(route(f"rules: [{{filters: {filters}}}]"))
        assert rule.redirect is not None
        return rule.redirect.port

    assert port("hostname: a.com") is None
    assert port("scheme: https") is None
    assert port("scheme: https, port: 443") is None
    assert port("scheme: https, port: 8443") == 8443
    assert port("port: 8080") == 8080


def test_what_is_not_supported_answers_500_and_is_told() -> None:
    extension = "{type: ExtensionRef, extensionRef: {group: a.b, kind: C, name: d}}"
    rule = f"{{filters: [{extension}], backendRefs: [{{name: s, port: 80}}]}}"
    mesh = translated(SERVICE, gateway(HTTP), route(f"rules: [{rule}]"))
    (made,) = mesh.gateways[0].servers[0].virtual_hosts[0].rules
    assert made.direct_response is not None and made.direct_response.status == 500
    accepted = told(mesh, "HTTPRoute", "a").parents[0].conditions[0]
    assert (accepted.status, accepted.reason) == ("False", "UnsupportedValue")


def test_header_values_are_literal() -> None:
    header = "requestHeaderModifier: {set: [{name: a, value: '%x%'}]}"
    filters = f"filters: [{{type: RequestHeaderModifier, {header}}}]"
    (rule,) = rules_of(route(f"rules: [{{{filters}, backendRefs: [{{name: s, port: 80}}]}}]"))
    assert rule.headers.request.set == {"a": "%%x%%"}


@pytest.mark.parametrize(
    ("method", "kind", "value"),
    [
        ("{service: a.B, method: C}", "exact", "/a.B/C"),
        ("{service: a.B}", "prefix", "/a.B"),
        ("{method: C}", "regex", "/[^/]+/C"),
        ("{type: RegularExpression, service: 'a.*'}", "regex", "/a.*/[^/]+"),
    ],
)
def test_grpc_methods_are_paths(method: str, kind: str, value: str) -> None:
    match = f"matches: [{{method: {method}}}]"
    text = f"rules: [{{{match}, backendRefs: [{{name: s, port: 80}}]}}]"
    (rule,) = rules_of(route(text, kind="GRPCRoute"))
    assert rule.matches[0].uri == StringMatch(kind, value)  # type: ignore[arg-type]


# --------------------------------------------------------------------------- listeners


def test_a_request_belongs_to_the_closest_listener() -> None:
    """What the wide listener's route would have of the close one's host is left out, and the close
    one answers 404 itself."""
    wide = "{name: wide, port: 80, protocol: HTTP, hostname: '*.a.com'}"
    close = "{name: close, port: 80, protocol: HTTP, hostname: x.a.com}"
    parents = "parentRefs: [{name: edge, sectionName: wide}]"
    text = route("hostnames: [x.a.com, y.a.com]").replace("parentRefs: [{name: edge}]", parents)
    (made,) = translated(SERVICE, gateway(wide, close), text).gateways
    found = {host.hosts[0]: len(host.rules) for s in made.servers for host in s.virtual_hosts}
    assert found == {"*.a.com": 0, "y.a.com": 1, "x.a.com": 0}


@pytest.mark.parametrize(
    ("listeners", "reason"),
    [
        (("{name: a, port: 80, protocol: HTTP}", "{name: b, port: 80, protocol: TCP}"), "Protocol"),
        (
            (
                "{name: a, port: 443, protocol: TLS, hostname: x.com, tls: {mode: Passthrough}}",
                "{name: b, port: 443, protocol: HTTPS, hostname: x.com, tls: {options: {a: b}}}",
            ),
            "Hostname",
        ),
    ],
)
def test_of_two_that_can_not_be_together_none_is_the_winner(
    listeners: tuple[str, str], reason: str
) -> None:
    third = "{name: c, port: 81, protocol: HTTP}"
    *both, apart = told(translated(gateway(*listeners, third)), "Gateway", "edge").listeners
    assert apart.conditions[1].status == "False"
    for one in both:
        conflicted = one.conditions[1]
        assert (conflicted.status, conflicted.reason) == ("True", f"{reason}Conflict")


def test_what_a_gateway_has_no_listener_set_takes() -> None:
    allowed = "allowedListeners: {namespaces: {from: Same}}"
    text = gateway("{name: a, port: 80, protocol: HTTP}").replace(
        "listeners:", f"{allowed}, listeners:"
    )
    spec = "{parentRef: {name: edge}, listeners: [{name: b, port: 80, protocol: TCP}]}"
    more = f"{{apiVersion: {API}, kind: ListenerSet, metadata: {{name: more}}, spec: {spec}}}"
    mesh = translated(text, more)
    (first,), (second,) = (
        told(mesh, *of).listeners for of in (("Gateway", "edge"), ("ListenerSet", "more"))
    )
    assert first.conditions[1].status == "False"
    assert second.conditions[1].reason == "ProtocolConflict"


def test_a_route_for_two_listeners_counts_at_both() -> None:
    other = "{name: other, port: 81, protocol: HTTP}"
    text = route("rules: [{backendRefs: [{name: s, port: 80}]}]")
    mesh = translated(SERVICE, gateway(HTTP, other), text)
    assert [one.attached_routes for one in told(mesh, "Gateway", "edge").listeners] == [1, 1]


def test_a_class_of_others_is_left_alone() -> None:
    theirs = f"""{{apiVersion: {API}, kind: GatewayClass, metadata: {{name: weft}},
      spec: {{controllerName: example.com/other}}}}"""
    mesh = translated(theirs, gateway(HTTP), SERVICE, route("rules: []").replace(", rules: []", ""))
    assert mesh.gateways == ()
    assert mesh.conditions == ()


# --------------------------------------------------------------------------- as Istio converts them


def test_a_preflight_of_another_origin_is_not_sent_on() -> None:
    cors = "{type: CORS, cors: {allowOrigins: ['https://a.com']}}"
    rule = f"{{filters: [{cors}], backendRefs: [{{name: s, port: 80}}]}}"
    (made,) = rules_of(route(f"rules: [{rule}]"))
    assert made.cors is not None and made.cors.forwards is False


@pytest.mark.parametrize(("codes", "found"), [("", ()), ("codes: [503]", (503,))])
def test_answers_are_retried_by_their_code_only_if_one_is_given(
    codes: str, found: tuple[int, ...]
) -> None:
    (made,) = rules_of(
        route(f"rules: [{{retry: {{{codes}}}, backendRefs: [{{name: s, port: 80}}]}}]")
    )
    assert made.retry is not None
    assert made.retry.retriable_status_codes == found
    assert ("retriable-status-codes" in made.retry.retry_on) == bool(found)


def test_a_connection_goes_to_no_backend_without_a_weight() -> None:
    def hosts(*weights: int) -> list[tuple[str, bool]]:
        refs = ", ".join(f"{{name: s, port: 80, weight: {weight}}}" for weight in weights)
        text = route(f"rules: [{{backendRefs: [{refs}]}}]", kind="TCPRoute")
        (made,) = translated(SERVICE, gateway("{name: t, port: 9, protocol: TCP}"), text).gateways
        (stream,) = made.servers[0].streams
        return [(one.host, one.resolved) for one in stream.destinations]

    assert hosts(0, 1) == [("s.default.svc.cluster.local", True)]
    assert hosts(0) == hosts(0, 0) == [("invalid.backend", False)]
