"""Meshes whose xDS is kept as golden files and shown to a real Envoy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from controlplane.inventory import Snapshot
from controlplane.kinds.authorization_policy import AuthorizationPolicy
from controlplane.kinds.mesh_config import MeshConfigMap
from controlplane.kinds.parse import parse
from controlplane.kinds.request_authentication import RequestAuthentication
from controlplane.mesh.model import (
    ClaimMatch,
    ClientTls,
    ConnectionPool,
    Destination,
    DirectResponse,
    Endpoint,
    HeaderOperations,
    Headers,
    HttpRule,
    Mesh,
    OutlierDetection,
    Protocol,
    Redirect,
    Retry,
    Rewrite,
    RouteMatch,
    ServicePort,
    StringMatch,
    Subset,
    TrafficPolicy,
)
from controlplane.translate import build, security
from controlplane.translate.index import Hosts
from controlplane.translate.memo import Memo
from controlplane.translate.report import Report
from controlplane.translate.scopes import Population
from tests.support.mesh import TRUST_DOMAIN, endpoint, inbound, mesh, service, workload

CASES: dict[str, Callable[[], Mesh]] = {}
MANIFESTS = Path(__file__).parents[1] / "controlplane" / "translate" / "golden"
HOST = "messenger.default.svc.cluster.local"
V1 = Subset("v1", {"version": "v1"})
V2 = Subset("v2", {"version": "v2"})
PAIR = (
    endpoint(9101, labels={"version": "v1"}, workload="messenger-1"),
    endpoint(9102, labels={"version": "v2"}, workload="messenger-2"),
)


def case(build: Callable[[], Mesh]) -> Callable[[], Mesh]:
    CASES[build.__name__] = build
    return build


def to(host: str = HOST, **facts: Any) -> Destination:
    return Destination(host, **facts)


def exact(value: str) -> StringMatch:
    return StringMatch("exact", value)


def prefix(value: str) -> StringMatch:
    return StringMatch("prefix", value)


def regex(value: str) -> StringMatch:
    return StringMatch("regex", value)


def ruled(*rules: HttpRule, **facts: Any) -> Mesh:
    """The messenger with both subsets under these rules."""
    return mesh(service("messenger", *PAIR, subsets=(V1, V2), rules=rules, **facts))


@case
def empty() -> Mesh:
    return mesh()


@case
def strict() -> Mesh:
    return mesh(service("messenger", PAIR[0]), workloads=(workload("messenger-1", inbound()),))


@case
def permissive() -> Mesh:
    return mesh(workloads=(workload("messenger-1", inbound(mtls="PERMISSIVE")),))


@case
def disabled() -> Mesh:
    return mesh(workloads=(workload("messenger-1", inbound(mtls="DISABLE")),))


@case
def tcp_and_udp() -> Mesh:
    """TCP comes in and has a cluster and a tunnel to it; UDP has nothing."""
    ports = (ServicePort(6379, "tcp", "TCP"), ServicePort(53, "udp", "UDP"))
    redis = Endpoint("127.0.0.1", {6379: 9109, 53: 9110})
    return mesh(
        service("redis", redis, ports=ports),
        workloads=(
            workload("messenger-1", inbound(protocol="TCP"), inbound(9102, 9002, protocol="UDP")),
        ),
    )


@case
def two_inbound_ports() -> Mesh:
    return mesh(
        workloads=(workload("messenger-1", inbound(), inbound(9102, 9002, protocol="GRPC")),)
    )


@case
def mixed_endpoints() -> Mesh:
    """One has a sidecar, one has not: each connection follows its endpoint's tlsMode."""
    return mesh(service("messenger", PAIR[0], endpoint(9003, mesh=False)))


@case
def plain_endpoints() -> Mesh:
    return mesh(service("messenger", endpoint(9003, mesh=False)))


@case
def no_endpoints() -> Mesh:
    return mesh(service("messenger"))


@case
def sidecar_without_identity() -> Mesh:
    return mesh(service("messenger", PAIR[0], endpoint(9104, identity="")))


@case
def localities_weights_and_health() -> Mesh:
    return mesh(
        service(
            "messenger",
            endpoint(9101, locality=("eu", "a", ""), weight=3),
            endpoint(9102, locality=("eu", "b", "rack"), health="DRAINING"),
            endpoint(9103, locality=("eu", "a", ""), health="UNHEALTHY"),
        )
    )


@case
def policies() -> Mesh:
    """Of the service, of a port, of a subset, of a subset's port."""
    pool = ConnectionPool(10, 2.5, 20, 30, 40, 5, 60.0)
    outlier = OutlierDetection(3, 0, 5.0, 15.0, 50, 20)
    limited = TrafficPolicy("ROUND_ROBIN", pool, outlier)
    fast = Subset(
        "fast",
        {"version": "v1"},
        TrafficPolicy("RANDOM"),
        {9090: TrafficPolicy(outlier=OutlierDetection(consecutive_gateway_errors=7))},
    )
    both = Endpoint("127.0.0.1", {8080: 9101, 9090: 9201}, {"version": "v1"})
    return mesh(
        service(
            "messenger",
            both,
            ports=(ServicePort(8080, "http", "HTTP"), ServicePort(9090, "http-admin", "HTTP")),
            policy=limited,
            port_policies={9090: TrafficPolicy(tls=ClientTls("DISABLE"))},
            subsets=(fast,),
        )
    )


@case
def weights_and_their_headers() -> Mesh:
    tagged = Headers(
        HeaderOperations({"x-version": "v2", "Host": "v2.example"}, {"x-seen": "1"}, ("x-secret",)),
        HeaderOperations({"x-served-by": "v2"}, {}, ("server",)),
    )
    return ruled(
        HttpRule((), (to(subset="v1", weight=90), to(subset="v2", weight=10, headers=tagged)))
    )


@case
def one_destination_takes_all() -> Mesh:
    return ruled(HttpRule((), (to(subset="v1", weight=0), to(subset="v2", weight=100))))


@case
def matches() -> Mesh:
    alternatives = (
        RouteMatch(uri=exact("/cart"), name="cart"),
        RouteMatch(uri=prefix("/Cart/"), ignore_uri_case=True),
        RouteMatch(uri=regex("/v[0-9]+/.*")),
        RouteMatch(method=exact("POST"), authority=prefix("shop.")),
        RouteMatch(
            headers={"x-user": exact("me"), "x-flag": None},
            without_headers={"x-robot": None, "x-tier": regex("free|trial")},
        ),
        RouteMatch(query_params={"debug": None, "v": exact("2")}),
    )
    return ruled(HttpRule(alternatives, (to(subset="v2"),), name="canary"), HttpRule((), (to(),)))


@case
def source_and_port() -> Mesh:
    """Decided for each node at emission: only the second and the last rule are for this one."""
    return ruled(
        HttpRule((RouteMatch(source_namespace="other"),), (to(subset="v1"),), name="other"),
        HttpRule((RouteMatch(source_labels={"app": "me"}),), (to(subset="v2"),), name="me"),
        HttpRule((RouteMatch(port=9),), (to(subset="v1"),), name="port"),
        HttpRule((), (to(),), name="rest"),
    )


@case
def redirects_rewrites_and_answers() -> Mesh:
    return ruled(
        HttpRule(
            (RouteMatch(uri=exact("/old")),), redirect=Redirect("/new", "x.example", "https", 8443)
        ),
        HttpRule((RouteMatch(uri=exact("/moved")),), redirect=Redirect(uri="/there", code=308)),
        HttpRule(
            (RouteMatch(uri=prefix("/teapot")),), direct_response=DirectResponse(418, "short")
        ),
        HttpRule((RouteMatch(uri=prefix("/gone")),), direct_response=DirectResponse(410)),
        HttpRule(
            (RouteMatch(uri=prefix("/api/")),),
            (to(),),
            rewrite=Rewrite("/", "api.example"),
            timeout_s=2.5,
            headers=Headers(HeaderOperations(remove=("x-a",)), HeaderOperations({"x-b": "1"})),
        ),
    )


@case
def retries() -> Mesh:
    """Default, one method, none, and as a user wrote it."""
    explicit = Retry(5, 0.5, ("5xx", "retriable-status-codes"), (418,), previous_hosts=False)
    return ruled(
        HttpRule((RouteMatch(uri=prefix("/get"), method=exact("GET")),), (to(),)),
        HttpRule((RouteMatch(uri=prefix("/post"), method=exact("POST")),), (to(),)),
        HttpRule((RouteMatch(uri=prefix("/none")),), (to(),), retry=Retry(0)),
        HttpRule((RouteMatch(uri=prefix("/more")),), (to(),), retry=Retry(7, 1.5)),
        HttpRule((RouteMatch(uri=prefix("/own")),), (to(),), retry=explicit),
        HttpRule((), (to(),)),
    )


@case
def unresolved() -> Mesh:
    return ruled(
        HttpRule((RouteMatch(uri=prefix("/a")),), (to("nowhere.example", resolved=False),)),
        HttpRule((), (to(subset="v1", weight=50), to(subset="v9", weight=50, resolved=False))),
    )


@case
def a_port_that_the_destination_lacks() -> Mesh:
    """Nobody said which of its two ports is meant, and neither is the one that was asked for."""
    ports = (ServicePort(1, "http", "HTTP"), ServicePort(2, "http-b", "HTTP"))
    other = service("other", Endpoint("127.0.0.1", {1: 9103, 2: 9104}), ports=ports)
    rule = HttpRule((), (to(other.hostname),))
    return mesh(service("messenger", *PAIR, rules=(rule,)), other)


@case
def names_of_several_services() -> Mesh:
    """An alias never takes a name that another service has in full, nor one twice."""
    return mesh(
        service("cart", endpoint(9101), addresses=("10.0.0.7", "fd00::7")),
        service("cart", endpoint(9102), namespace="other"),
        service("web", endpoint(9103, 80), port=80),
        service(
            "two",
            Endpoint("127.0.0.1", {80: 9104, 8080: 9105}),
            ports=(ServicePort(80, "http", "HTTP"), ServicePort(8080, "http-alt", "HTTP")),
        ),
        service("late", endpoint(9106), aliases=("cart.default.svc.cluster.local",)),
    )


@case
def external_services() -> Mesh:
    """By name in DNS, and with TLS of its own."""
    outside = service(
        "api",
        Endpoint("api.example.com", {8080: 443}),
        resolution="DNS",
        external=True,
        policy=TrafficPolicy(tls=ClientTls("SIMPLE", "api.example.com")),
    )
    named = ClientTls(
        "SIMPLE",
        "pay.example.com",
        ("spiffe://pay.example.com/api", "10.0.0.1", "pay.example.com"),
        roots="/etc/ssl/certs/ca-certificates.crt",
    )
    checked = service(
        "pay", resolution="DNS", external=True, protocol="GRPC", policy=TrafficPolicy(tls=named)
    )
    trusting = ClientTls("SIMPLE", verifies=False)
    blind = service("blind", resolution="DNS", external=True, policy=TrafficPolicy(tls=trusting))
    itself = service("plain", resolution="DNS", external=True)
    return mesh(outside, itself, checked, blind)


@case
def grpc_service() -> Mesh:
    return mesh(service("greeter", endpoint(9101), protocol="GRPC"))


@case
def tls_settings_of_a_rule() -> Mesh:
    given = ClientTls("ISTIO_MUTUAL", "own.sni", ("spiffe://cluster.local/ns/x/sa/y",))
    return mesh(service("messenger", *PAIR, policy=TrafficPolicy(tls=given)))


@case
def claims_choose_a_route() -> Mesh:
    member = ClaimMatch(("groups",), exact("staff"))
    nested = ClaimMatch(("a", "b"), prefix("c"))
    there, without = ClaimMatch(("email",)), ClaimMatch(("guest",), invert=True)
    return ruled(
        HttpRule((RouteMatch(claims=(member, nested)),), (to(subset="v1"),)),
        HttpRule((RouteMatch(claims=(there, without)),), (to(subset="v2"),)),
        HttpRule((), (to(),)),
    )


# --------------------------------------------------------------------------- access

ASKED_OVER_HTTP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system, annotations: {weft.dev/denial-details: "true"}}
data:
  mesh: |
    extensionProviders:
    - name: checker
      envoyExtAuthzHttp:
        service: checker.default.svc.cluster.local
        port: 9000
        pathPrefix: /check
        timeout: 2s
        failOpen: true
        statusOnError: "503"
        includeRequestHeadersInCheck: [authorization, x-a-*]
        includeAdditionalHeadersInCheck: {x-from: weft}
        includeRequestBodyInCheck: {maxRequestBytes: 1024, allowPartialMessage: true}
        headersToUpstreamOnAllow: ["*-id"]
        headersToDownstreamOnDeny: [set-cookie]
        headersToDownstreamOnAllow: [x-b]
"""
ASKED_OVER_GRPC = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - name: checker
      envoyExtAuthzGrpc: {service: checker.default.svc.cluster.local, port: 9000}
"""
POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: custom}
spec: {action: CUSTOM, provider: {name: checker}, rules: [{to: [{operation: {paths: [/ask]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: audit}
spec: {action: AUDIT, rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny}
spec:
  action: DENY
  rules:
  - from: [{source: {notPrincipals: ["*"], remoteIpBlocks: ["10.0.0.0/8", "::1"]}}]
    to: [{operation: {methods: [DELETE], notPaths: ["/a/{*}/b/{**}"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: dry, annotations: {istio.io/dry-run: "true"}}
spec: {action: DENY, rules: [{to: [{operation: {ports: ["9001"]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow}
spec:
  selector: {matchLabels: {app: messenger-1}}
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/web], requestPrincipals: [idp/*]}}]
    to: [{operation: {hosts: ["*.test"], ports: ["9001"]}}]
    when:
    - {key: "request.auth.claims[a][b]", values: [c, d]}
    - {key: "experimental.envoy.filters.f[k]", values: ["[v]", w]}
    - {key: connection.sni, values: [a.test]}
  - from: [{source: {namespaces: [default]}}]
"""
TOKENS = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  jwtRules:
  - issuer: idp
    jwksUri: https://idp.test/keys
    audiences: [a]
    fromHeaders: [{name: x-token, prefix: "Token "}]
    fromParams: [t]
    fromCookies: [t]
    outputPayloadToHeader: x-payload
    outputClaimToHeaders: [{header: x-sub, claim: sub}]
    forwardOriginalToken: true
  - {issuer: own, jwksUri: "http://checker.default.svc.cluster.local:9000/keys"}
  - {issuer: nobody}
"""


def guarded(*manifests: str, protocol: Protocol = "HTTP") -> Mesh:
    """The messenger's workload under these policies, and the service that they ask."""
    parsed = parse("\n---\n".join(manifests), "policies.yaml")
    assert not parsed.has_errors, parsed.statuses
    made = mesh(
        service("checker", port=9000, protocol="GRPC"),
        workloads=(workload("messenger-1", replace(inbound(protocol=protocol), numbers=(9001,))),),
    )
    found = Snapshot(parsed.objects)
    configs = found.of(MeshConfigMap)
    policies = found.of(AuthorizationPolicy), found.of(RequestAuthentication)
    lookups = Hosts(made.services), Population(made.workloads)
    asked = security.asked(configs, made.services)
    given = configs, policies, TRUST_DOMAIN, asked, lookups, Report()
    return replace(made, security=Memo().stage("security", security.build, *given))


@case
def access_of_http() -> Mesh:
    return guarded(ASKED_OVER_HTTP, POLICIES)


@case
def access_of_tcp() -> Mesh:
    return guarded(ASKED_OVER_GRPC, POLICIES, protocol="TCP")


@case
def nobody_can_be_asked() -> Mesh:
    return guarded(POLICIES)


@case
def tokens() -> Mesh:
    return guarded(TOKENS, POLICIES, ASKED_OVER_GRPC)


# --------------------------------------------------------------------------- from manifests


def _of_manifest(path: Path) -> Callable[[], Mesh]:
    """The mesh that a golden input of the translation becomes."""

    def made() -> Mesh:
        parsed = parse(path.read_text("utf-8"), path.name)
        return build(Snapshot(parsed.objects), TRUST_DOMAIN)[0]

    return made


for _path in sorted(MANIFESTS.glob("*.in.yaml")):
    CASES[f"of_{_path.name.removesuffix('.in.yaml')}"] = _of_manifest(_path)
