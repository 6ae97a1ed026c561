"""What is wrong with Istio's further kinds is said with its path; what is right is taken."""

from __future__ import annotations

import pytest

from controlplane.kinds.parse import parse

VERSIONS = {
    "ProxyConfig": "networking.istio.io/v1beta1",
    "EnvoyFilter": "networking.istio.io/v1alpha3",
    "Telemetry": "telemetry.istio.io/v1",
}
LISTENER = "{context: SIDECAR_INBOUND, listener: {filterChain: {filter: {name: a}}}}"
INSERT = "patch: {operation: INSERT_BEFORE, value: {name: b}}"


def errors(kind: str, spec: str) -> list[str]:
    version = VERSIONS.get(kind, "networking.istio.io/v1")
    text = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n"
    return [s.message for s in parse(text, "m.yaml").statuses if s.severity == "error"]


RIGHT = [
    ("Sidecar", "{egress: [{hosts: [./*, ~old/*, '*/*.a.test']}]}"),
    ("Sidecar", "{egress: [{port: {number: 0, protocol: http}, bind: 'unix:///s', hosts: [a/b]}]}"),
    ("Sidecar", "{ingress: [{port: {number: 9, protocol: HTTPS}, defaultEndpoint: '[::1]:80',"
                " tls: {mode: SIMPLE, serverCertificate: a, privateKey: b}}]}"),
    ("WorkloadGroup", "{template: {ports: {http: 80}}, probe: {grpc: {port: 1}}}"),
    ("ProxyConfig", "{concurrency: 0, image: {imageType: distroless}}"),
    ("Telemetry", "{tracing: [{customTags: {a: {header: {name: x}}}, match: {mode: SERVER}}]}"),
    ("Telemetry", "{metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE}}}]}]}"),
    ("EnvoyFilter", f"{{configPatches: [{{applyTo: HTTP_FILTER, match: {LISTENER}, {INSERT}}}]}}"),
    ("EnvoyFilter", "{configPatches: [{applyTo: CLUSTER, patch: {operation: REMOVE}}]}"),
    ("WorkloadEntry", "{address: 'unix://@abstract'}"),
    ("ServiceEntry", "{hosts: ['*.a.test'], resolution: DYNAMIC_DNS,"
                     " ports: [{number: 443, name: tls, protocol: TLS}]}"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec"), RIGHT)
def test_what_is_right_is_taken(kind: str, spec: str) -> None:
    assert errors(kind, spec) == []


WRONG = [
    ("Sidecar", "{workloadSelector: {labels: {a: b}}}", "spec: needs ingress, egress, inbound"),
    ("Sidecar", "{egress: [{hosts: [a]}]}", "spec.egress[0].hosts[0]: expected namespace/host"),
    ("Sidecar", "{egress: [{hosts: [a/b*]}]}", "spec.egress[0].hosts[0]: expected namespace/host"),
    ("Sidecar", "{egress: [{hosts: [a/b]}, {hosts: [a/c]}]}", "spec.egress[0]: without a port it"),
    ("Sidecar", "{egress: [{port: {number: 1}, hosts: [a/b]}, {port: {number: 1}, hosts: [a/c]}]}",
     "spec.egress[1]: 1 is given twice"),
    ("Sidecar", "{egress: [{port: {number: 0}, hosts: [a/b]}]}", "spec.egress[0].port: needs a n"),
    ("Sidecar", "{egress: [{port: {number: 1}, bind: 'unix:///s', hosts: [a/b]}]}",
     "spec.egress[0].bind: a unix socket has no port"),
    ("Sidecar", "{egress: [{bind: 'unix:///s', captureMode: IPTABLES, hosts: [a/b]}]}",
     "spec.egress[0].captureMode: nothing is captured"),
    ("Sidecar", "{ingress: [{port: {number: 0}}]}", "spec.ingress[0].port: needs a number"),
    ("Sidecar", "{ingress: [{port: {number: 1}, defaultEndpoint: '10.0.0.1:80'}]}",
     "spec.ingress[0].defaultEndpoint: expected 127.0.0.1:PORT"),
    ("Sidecar", "{ingress: [{port: {number: 1}}, {port: {number: 1}}]}", "spec.ingress[1]: the po"),
    ("Sidecar", "{ingress: [{port: {number: 1, protocol: HTTP}, tls: {mode: PASSTHROUGH}}]}",
     "spec.ingress[0].tls is for HTTPS and TLS ports"),
    ("Sidecar", "{ingress: [{port: {number: 1, protocol: TLS}, tls: {mode: MUTUAL,"
     " serverCertificate: a, privateKey: b}}]}", "spec.ingress[0].tls.caCertificates: mode MUTUAL"),
    ("Sidecar", "{outboundTrafficPolicy: {egressProxy: {host: a.b, port: {number: 1}}}}",
     "spec.outboundTrafficPolicy.egressProxy: needs mode ALLOW_ANY"),
    ("Sidecar", "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.b}}}",
     "spec.outboundTrafficPolicy.egressProxy: needs a port"),
    ("WorkloadGroup", "{template: {}, probe: {}}", "spec.probe: expected one of httpGet, tcp"),
    ("WorkloadGroup", "{template: {address: 'unix:///a', ports: {a: 1}}}",
     "spec.template.ports: a unix socket has no ports"),
    ("ProxyConfig", "{concurrency: -1}", "spec.concurrency: expected an integer 0..2147483647"),
    ("Telemetry", "{tracing: [{randomSamplingPercentage: 101}]}",
     "spec.tracing[0].randomSamplingPercentage: expected a number 0..100"),
    ("Telemetry", "{tracing: [{customTags: {a: {literal: {value: x}, header: {name: x}}}}]}",
     "spec.tracing[0].customTags.a.header: expected only one of"),
    ("Telemetry", "{metrics: [{overrides: [{tagOverrides: {a: {operation: UPSERT}}}]}]}",
     "spec.metrics[0].overrides[0].tagOverrides.a.value: UPSERT needs it"),
    ("Telemetry", "{metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE, value: b}}}]}]}",
     "spec.metrics[0].overrides[0].tagOverrides.a.value: REMOVE has no use"),
    ("Telemetry", "{metrics: [{overrides: [{match: {metric: REQUEST_COUNT, customMetric: a}}]}]}",
     "spec.metrics[0].overrides[0].match.customMetric: and metric exclude"),
    ("EnvoyFilter", f"{{configPatches: [{{applyTo: HTTP_FILTER, {INSERT}}}]}}",
     "spec.configPatches[0].match: INSERT_BEFORE needs the filter"),
    ("EnvoyFilter", "{configPatches: [{applyTo: CLUSTER, patch: {operation: ADD, value: [1]}}]}",
     "spec.configPatches[0].patch.value: expected a mapping, got a list"),
    ("EnvoyFilter", "{configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE}}]}",
     "spec.configPatches[0].patch: MERGE needs a value"),
    ("EnvoyFilter", "{configPatches: [{applyTo: CLUSTER, patch: {operation: REMOVE, value: {}}}]}",
     "spec.configPatches[0].patch: REMOVE has no use"),
    ("EnvoyFilter", "{configPatches: [{applyTo: CLUSTER, patch: {operation: REPLACE, value: {}}}]}",
     "spec.configPatches[0].patch: REPLACE is for filters"),
    ("EnvoyFilter", "{configPatches: [{applyTo: CLUSTER, match: {context: WAYPOINT},"
     " patch: {operation: REMOVE}}]}", "spec.configPatches[0].match.waypoint: and the context"),
    ("EnvoyFilter", "{configPatches: [{applyTo: CLUSTER, match: {cluster: {}, listener: {}},"
     " patch: {operation: REMOVE}}]}", "spec.configPatches[0].match.cluster: expected only one of"),
    ("WorkloadEntry", "{}", "spec.address is required"),
    ("WorkloadEntry", "{address: 'unix://s'}", "spec.address: expected unix:///path or unix://@"),
    ("ServiceEntry", "{hosts: [a.test], resolution: DYNAMIC_DNS}", "spec.hosts[0]: DYNAMIC_DNS is"),
    ("ServiceEntry", "{hosts: ['*']}", "spec.hosts[0]: '*' alone is no host"),
    ("ServiceEntry", "{hosts: [a, b], resolution: DNS, ports: [{number: 1, name: a,"
     " protocol: TCP}]}", "spec.ports[0]: TCP does not tell several hosts apart"),
    ("ServiceEntry", "{hosts: [a], resolution: DNS, addresses: [10.0.0.0/8]}",
     "spec.addresses: a range of addresses needs"),
    ("ServiceEntry", "{hosts: [a], resolution: DNS_ROUND_ROBIN, endpoints: [{address: b},"
     " {address: c}]}", "spec.endpoints[1]: DNS_ROUND_ROBIN takes one"),
    ("VirtualService", "{hosts: ['*.a', b.a], http: [{redirect: {uri: /}}]}",
     "spec.hosts[1]: 'b.a' and '*.a' have names in common"),
    ("VirtualService", "{http: [{delegate: {name: d}}]}", "spec.http[0]: a delegate can not dele"),
    ("VirtualService", "{gateways: [mesh], http: [{redirect: {uri: /}}]}",
     "spec.gateways: must not be set in a delegate"),
    ("VirtualService", "{hosts: [a], exportTo: [x, '*'], http: [{redirect: {uri: /}}]}",
     "spec.exportTo[1]: '*' stands alone"),
    ("DestinationRule", "{host: a, exportTo: [b], workloadSelector: {matchLabels: {a: b}}}",
     "spec.exportTo: with a workloadSelector only '.'"),
    ("DestinationRule", "{host: a, trafficPolicy: {outlierDetection:"
     " {consecutiveLocalOriginFailures: 1}}}",
     "spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures: needs split"),
    ("DestinationRule", "{host: a, trafficPolicy: {connectionPool: {http:"
     " {useClientProtocol: true, h2UpgradePolicy: UPGRADE}}}}",
     "spec.trafficPolicy.connectionPool.http.useClientProtocol: and h2UpgradePolicy"),
    ("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover:"
     " [{from: a, to: a}]}}}}",
     "spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].to: must be another"),
    ("DestinationRule", "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute:"
     " [{from: a/*, to: {b: 100}}, {from: a/c, to: {b: 100}}]}}}}",
     "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[1]: from 'a/c' and 'a/*'"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spec", "expected"), WRONG)
def test_what_is_wrong_is_said_with_its_path(kind: str, spec: str, expected: str) -> None:
    found = errors(kind, spec)
    assert len(found) == 1, found
    assert found[0].startswith(expected), found[0]


def test_a_telemetry_overrides_a_hundred_tags_and_no_more() -> None:
    """Of however many metrics: each is in the listeners of every proxy that it is for."""

    def overriding(count: int) -> str:
        tags = ", ".join(f"t{number}: {{value: x}}" for number in range(count))
        return f"{{overrides: [{{disabled: false}}, {{tagOverrides: {{{tags}}}}}]}}"

    assert errors("Telemetry", f"{{metrics: [{overriding(60)}, {overriding(40)}]}}") == []
    (found,) = errors("Telemetry", f"{{metrics: [{overriding(60)}, {overriding(41)}]}}")
    assert found.startswith("spec.metrics[1].overrides[1].tagOverrides: with it there are more")


def test_kinds_without_effect_here_say_so() -> None:
    text = "apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {name: a}\n"
    (status,) = parse(text, "m.yaml").statuses
    assert (status.severity, status.code) == ("info", "NoEffect")


def test_foreign_kinds_are_told_and_ours_in_foreign_groups_refused() -> None:
    head = "apiVersion: {}\nkind: {}\nmetadata: {{name: a}}\n"
    foreign = (
        ("cert-manager.io/v1", "Certificate"),
        ("v1", "LimitRange"),
        ("apps/v1", "DaemonSet"),
    )
    for version, kind in foreign:
        (status,) = parse(head.format(version, kind), "m.yaml").statuses
        assert (status.severity, status.code) == ("info", "NoEffect")
    mistaken = (("networking.istio.oi/v1", "VirtualService"), ("networking.istio.io/v1", "Virtual"))
    for version, kind in mistaken:
        (status,) = parse(head.format(version, kind), "m.yaml").statuses
        assert (status.severity, status.code) == ("error", "UnknownKind")
