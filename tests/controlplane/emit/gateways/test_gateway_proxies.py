"""What a proxy gets as a gateway: whose it is, where it listens, and who may have private keys."""

from __future__ import annotations

import json

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3 import route_components_pb2 as parts
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsParameters
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from controlplane.emit.envoy import emit
from controlplane.emit.node import Node
from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.snapshot import Draft, check
from controlplane.translate import build
from tests.support.pki import Authority

ROOT = Authority()
LABELS = {"istio": "ingressgateway"}
NAMED = {"gateway.networking.k8s.io/gateway-name": "edge"}


def secret(name: str = "web", namespace: str = "istio-system") -> str:
    pair = ROOT.issue(dns=("a.com",))
    values = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": ROOT.pem}
    metadata = {"name": name, "namespace": namespace}
    kind = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    return json.dumps({**kind, "stringData": values})


def proxy(
    labels: dict[str, str], address: str = "127.0.0.1", namespace: str = "istio-system"
) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: edge-1, namespace: {namespace}}}
spec: {{address: {address}, serviceAccount: edge, labels: {json.dumps(labels)}}}
---
apiVersion: v1
kind: Service
metadata: {{name: edge, namespace: {namespace}}}
spec:
  selector: {json.dumps(labels)}
  ports: [{{name: http, port: 80, targetPort: 8080}}, {{name: tls, port: 443, targetPort: 8443}}]
"""


def istio(servers: str, name: str = "web", selector: str = "{istio: ingressgateway}") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: shop}}
spec: {{selector: {selector}, servers: [{servers}]}}
"""


def routed(gateways: str, path: str, name: str, host: str = "a.com") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: [{host}]
  gateways: [{gateways}]
  http: [{{name: {name}, match: [{{uri: {{prefix: {path}}}}}], directResponse: {{status: 200}}}}]
"""


HTTP = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}"
KNOWN = Node("router~e", "istio-system", "edge-1", "edge", labels=LABELS)


def drafted(node: Node, *texts: str) -> Draft:
    inventory = Inventory()
    parsed = parse("\n---\n".join(texts), "a.yaml")
    assert not parsed.has_errors, parsed.statuses
    inventory.replace(Origin.file("a.yaml"), parsed.objects)
    draft = emit(build(inventory.snapshot(), "cluster.local")[0], node)
    assert check(draft) == ()
    return draft


def tls_of(listener: Listener, chain: int = 0) -> DownstreamTlsContext:
    context = DownstreamTlsContext()
    assert listener.filter_chains[chain].transport_socket.typed_config.Unpack(context)
    return context


def hosts_of(draft: Draft) -> dict[str, parts.VirtualHost]:
    return {domain: host for host in draft.routes[0].virtual_hosts for domain in host.domains}


def test_it_listens_at_its_services_target_port() -> None:
    (listener,) = drafted(KNOWN, proxy(LABELS), istio(HTTP), routed("web", "/a", "one")).listeners
    assert listener.name == "127.0.0.1_8080"


def test_a_proxy_that_is_not_on_a_laptop_listens_everywhere() -> None:
    text = proxy(LABELS, "10.0.0.9")
    (listener,) = drafted(KNOWN, text, istio(HTTP), routed("web", "/a", "one")).listeners
    assert listener.name == "0.0.0.0_8080"


def test_who_is_not_chosen_is_no_gateway() -> None:
    texts = (istio(HTTP), routed("web", "/a", "one"))
    assert not drafted(Node("sidecar~a", "shop", labels={"app": "x"}), *texts).listeners
    unknown = Node("router~b", "shop", labels=LABELS)
    assert [one.name for one in drafted(unknown, *texts).listeners] == ["0.0.0.0_80"]


def test_a_gateway_without_a_selector_is_for_gateways_only() -> None:
    texts = (istio(HTTP, selector="{}"), routed("web", "/a", "one"))
    assert not drafted(Node("sidecar~a", "shop", labels={"app": "x"}), *texts).listeners
    assert drafted(Node("router~a", "shop"), *texts).listeners


def test_gateway_apis_gateway_is_for_proxies_of_its_namespace() -> None:
    text = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""
    assert drafted(Node("router~a", "infra", labels=NAMED), text).listeners
    assert not drafted(Node("router~a", "other", labels=NAMED), text).listeners


SECURED = (
    "{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com], "
    "tls: {mode: MUTUAL, credentialName: web, minProtocolVersion: TLSV1_3}}"
)


def test_keys_are_for_the_proven_workload_only() -> None:
    texts = (proxy(LABELS), secret(), istio(SECURED), routed("web", "/a", "one"))
    names = [one.name for one in drafted(KNOWN, *texts).secrets]
    assert names == ["kubernetes://istio-system/web", "kubernetes://istio-system/web-cacert"]
    another = Node("router~e", "istio-system", "edge-1", "thief", labels=LABELS)
    assert not drafted(another, *texts).secrets
    unknown = Node("router~e", "istio-system", "edge-2", "edge", labels=LABELS)
    assert not drafted(unknown, *texts).secrets


def test_tls_is_as_the_server_says() -> None:
    texts = (proxy(LABELS), secret(), istio(SECURED), routed("web", "/a", "one"))
    (listener,) = drafted(KNOWN, *texts).listeners
    assert list(listener.filter_chains[0].filter_chain_match.server_names) == ["a.com"]
    assert listener.listener_filters[0].name == "envoy.filters.listener.tls_inspector"
    context = tls_of(listener)
    common = context.common_tls_context
    assert context.require_client_certificate.value
    assert common.tls_params.tls_minimum_protocol_version == TlsParameters.TLSv1_3
    roots = common.combined_validation_context.validation_context_sds_secret_config
    assert roots.name == "kubernetes://istio-system/web-cacert"
    assert list(common.alpn_protocols) == ["h2", "http/1.1"]


def test_the_meshs_own_certificate() -> None:
    server = SECURED.replace("MUTUAL, credentialName: web", "ISTIO_MUTUAL")
    draft = drafted(KNOWN, proxy(LABELS), istio(server), routed("web", "/a", "one"))
    context = tls_of(draft.listeners[0])
    assert context.common_tls_context.tls_certificate_sds_secret_configs[0].name == "default"


def test_a_listener_of_gateway_api_may_have_the_meshs_certificate_too() -> None:
    text = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec:
  gatewayClassName: weft
  listeners:
  - name: own
    port: 8443
    protocol: HTTPS
    tls: {mode: Terminate, options: {gateway.istio.io/tls-terminate-mode: ISTIO_SIMPLE}}
"""
    (listener,) = drafted(Node("router~a", "infra", labels=NAMED), text).listeners
    context = tls_of(listener)
    common = context.common_tls_context
    assert common.tls_certificate_sds_secret_configs[0].name == "default"
    assert not context.require_client_certificate.value
    assert not common.HasField("combined_validation_context")


def test_a_server_without_its_secret_stays_shut() -> None:
    texts = (proxy(LABELS), istio(f"{SECURED}, {HTTP}"), routed("web", "/a", "one"))
    assert [one.name for one in drafted(KNOWN, *texts).listeners] == ["127.0.0.1_8080"]


def test_one_chain_for_one_server_name() -> None:
    texts = (proxy(LABELS), secret(), istio(SECURED), istio(SECURED, "younger"))
    (listener,) = drafted(KNOWN, *texts, routed("web, younger", "/a", "one")).listeners
    assert len(listener.filter_chains) == 1


def test_what_several_say_of_a_host_is_put_together() -> None:
    draft = drafted(
        KNOWN,
        proxy(LABELS),
        istio(HTTP),
        istio(HTTP, "younger"),
        routed("web", "/a", "one"),
        routed("younger", "/b", "two"),
        routed("web", "/c", "three", "b.com"),
    )
    assert [one.name for one in draft.routes] == ["http.8080"]
    assert draft.routes[0].ignore_port_in_host_matching
    found = {name: [r.name for r in host.routes] for name, host in hosts_of(draft).items()}
    assert found == {"a.com": ["one", "two"], "b.com": ["three"]}


def test_plain_http_is_redirected() -> None:
    server = HTTP.replace("hosts: ['*']", "hosts: [a.com, b.com], tls: {httpsRedirect: true}")
    draft = drafted(KNOWN, proxy(LABELS), istio(server), routed("web", "/a", "one"))
    assert {h.require_tls for h in hosts_of(draft).values()} == {parts.VirtualHost.ALL}
    assert hosts_of(draft).keys() == {"a.com", "b.com"}


def test_bytes_go_by_weight() -> None:
    service = "{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: shop}, spec: %s}"
    ports = "{ports: [{name: tcp, port: 9}]}"
    route = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bytes, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [web]
  tcp:
    - route:
        - {destination: {host: one}, weight: 3}
        - {destination: {host: two}, weight: 1}
"""
    server = "{port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']}"
    texts = (service % ("one", ports), service % ("two", ports), route)
    (listener,) = drafted(KNOWN, proxy(LABELS), istio(server), *texts).listeners
    relay = TcpProxy()
    assert listener.filter_chains[0].filters[-1].typed_config.Unpack(relay)
    assert [one.weight for one in relay.weighted_clusters.clusters] == [3, 1]


def test_two_services_before_it_have_two_ports() -> None:
    other = """
apiVersion: v1
kind: Service
metadata: {name: other, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, ports: [{name: http, port: 80, targetPort: 9080}]}
"""
    draft = drafted(KNOWN, proxy(LABELS), other, istio(HTTP), routed("web", "/a", "one"))
    assert [one.name for one in draft.listeners] == ["127.0.0.1_8080", "127.0.0.1_9080"]


def test_of_two_that_want_a_port_otherwise_the_first_has_it() -> None:
    """By name, where none is older; a warning tells the other."""
    tcp = HTTP.replace("protocol: HTTP", "protocol: TCP")
    texts = (proxy(LABELS), istio(tcp, "young"), istio(HTTP, "able"))
    draft = drafted(KNOWN, *texts, routed("able", "/a", "one"))
    assert [one.name for one in draft.routes] == ["http.8080"]


def test_bytes_are_bounded_as_their_service_is() -> None:
    policy = """
apiVersion: v1
kind: Service
metadata: {name: one, namespace: shop}
spec: {ports: [{name: tcp, port: 9}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: one, namespace: shop}
spec:
  host: one
  trafficPolicy:
    loadBalancer: {consistentHash: {useSourceIp: true}}
    connectionPool: {tcp: {maxConnectionDuration: 60s, idleTimeout: 5s}}
    tunnel: {targetHost: outside.test, targetPort: 443}
"""
    route = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bytes, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [web]
  tcp: [{route: [{destination: {host: one}}]}]
"""
    server = "{port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']}"
    (listener,) = drafted(KNOWN, proxy(LABELS), istio(server), policy, route).listeners
    relay = TcpProxy()
    assert listener.filter_chains[0].filters[-1].typed_config.Unpack(relay)
    assert relay.max_downstream_connection_duration.seconds == 60
    assert relay.idle_timeout.seconds == 5
    assert relay.hash_policy[0].HasField("source_ip")
    assert relay.tunneling_config.hostname == "outside.test:443"
