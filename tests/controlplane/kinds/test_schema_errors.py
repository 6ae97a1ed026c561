"""Every kind of mistake in a manifest: what is said, and at which line and column."""

from __future__ import annotations

import textwrap

import pytest

from controlplane.kinds.core import ConfigMap, Service
from controlplane.kinds.parse import Parsed, parse


def read(text: str) -> Parsed:
    return parse(textwrap.dedent(text), "m.yaml")


def said(text: str) -> list[str]:
    return [str(status) for status in read(text).statuses]


def service(ports: str) -> str:
    return f"""\
apiVersion: v1
kind: Service
metadata: {{name: a}}
spec:
  ports:
  - {ports}
"""


def virtual_service(http: str, spec: str = "") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: a}}
spec:
  hosts: [b]{spec}
  http:
  - {http}
"""


def destination_rule(spec: str) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: a}}
spec:
  host: b
  {spec}
"""


ROUTE = "{route: [{destination: {host: b}}]"

HEADS = [
    ("- a\n- b\n", "1:1: error: expected an object with apiVersion, kind and metadata, got a list"),
    ("word\n", "1:1: error: expected an object with apiVersion, kind and metadata, got 'word'"),
    ("apiVersion: v1\nmetadata: {name: a}\n", "1:1: error: kind is required"),
    ("kind: Service\n", "1:1: error: apiVersion is required"),
    ("apiVersion: 1\nkind: Service\n", "1:13: error: apiVersion: expected a string, got the i"),
    ("apiVersion: v1\nkind: ServiceAccount\n", "1:1: error: metadata is required"),
    (
        "apiVersion: v1\nkind: Service\nspec: {}\nmetadata:\n  labels: {}\n",
        "5:3: error: metadata.name is required",
    ),
    (
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: Über\n",
        "4:9: error: metadata.name: expected a name of lower-case letters, digits, '-' and '.', "
        "got 'Über'",
    ),
    (
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: a\n  labels: {version: 1.0}\n",
        '5:21: error: metadata.labels.version: expected a string, got the number 1.0; write "1.0"',
    ),
    (
        "apiVersion: v1\nkind: Servce\nmetadata: {name: a}\n",
        "2:7: error: apiVersion 'v1' kind 'Servce' is not supported; did you mean 'Service'?",
    ),
    (
        "apiVersion: v1\nkind: Quux\nmetadata: {name: a}\n",
        "2:7: error: apiVersion 'v1' kind 'Quux' is not supported",
    ),
    (
        "apiVersion: v2\nkind: Service\nmetadata: {name: a}\n",
        "2:7: error: apiVersion 'v2' kind 'Service' is not supported; Service is known as v1",
    ),
    ("apiVersion: v1\nkind: List\n", "1:1: error: items: expected a list of objects"),
    (
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n",
        "4:3: error: items[0].kind is required",
    ),
]

FIELDS = [
    (
        service("{port: 80, prot: TCP}"),
        "6:16: error: spec.ports[0].prot: no such field; did you mean 'port'?",
    ),
    (
        service("{port: 80, zzz: 1}"),
        "6:16: error: spec.ports[0].zzz: no such field; "
        "known: appProtocol, name, port, protocol, targetPort",
    ),
    (service("{name: http}"), "6:5: error: spec.ports[0].port is required"),
    (
        service("{port: 70000}"),
        "6:12: error: spec.ports[0].port: expected an integer 1..65535, got the integer 70000",
    ),
    (service("{port: 0x1_0}"), "6:12: error: spec.ports[0].port: expected an integer 1..65535"),
    (service("{port: 99" + "9" * 5000 + "}"), "6:12: error: spec.ports[0].port: expected"),
    (
        service("{port: 80, protocol: tcp}"),
        "6:26: error: spec.ports[0].protocol: expected one of TCP, UDP, SCTP, got 'tcp'",
    ),
    (
        service("{port: 80, name: a}\n  - {port: 80, name: b}"),
        "7:5: error: spec.ports[1]: the port 80 is given",
    ),
    (
        service("{port: 80, name: a}\n  - {port: 81}"),
        "7:5: error: spec.ports[1]: needs a name because",
    ),
    (
        service("{port: 80}") + "  clusterIP: 10.0.0.256\n",
        "7:14: error: spec.clusterIP: expected an IP address, got '10.0.0.256'",
    ),
    (
        "apiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\nsubsets: [{addresses: [{ip: x}]}]\n",
        "4:29: error: subsets[0].addresses[0].ip: expected an IP address, got 'x'",
    ),
    (
        virtual_service(
            "route:\n    - {destination: {host: b}, weight: lots}\n    - {destination: {host: c}}"
        ),
        "8:40: error: spec.http[0].route[0].weight: expected an integer 0..2147483647, got 'lots'",
    ),
    (
        virtual_service(f"{ROUTE}, timeout: 5}}"),
        "7:50: error: spec.http[0].timeout: expected a string, got the integer 5",
    ),
    (
        virtual_service(f"{ROUTE}, timeout: 5 s}}"),
        "7:50: error: spec.http[0].timeout: expected a duration such as 5s, 250ms or 1m30s, "
        "got '5 s'",
    ),
    (
        virtual_service("{match: [{uri: {}}]}"),
        "7:20: error: spec.http[0].match[0].uri: expected one of exact, prefix, regex, got none",
    ),
    (
        virtual_service("{match: [{uri: {exact: a, prefix: b}}], redirect: {uri: /}}"),
        "7:20: error: spec.http[0].match[0].uri: expected only one of exact, prefix, regex, "
        "got exact and prefix",
    ),
    (
        virtual_service("{match: [{uri: {regex: '('}}], redirect: {uri: /}}"),
        "7:28: error: spec.http[0].match[0].uri.regex: not a regular expression",
    ),
    (
        virtual_service("{match: [{uri: {regex: '(?=a)'}}], redirect: {uri: /}}"),
        "7:28: error: spec.http[0].match[0].uri.regex: '(?=a)' uses look-around",
    ),
    (
        virtual_service("{match: [{headers: {h: {regex: ''}}}], redirect: {uri: /}}"),
        "7:36: error: spec.http[0].match[0].headers.h.regex: must not be empty",
    ),
    (
        virtual_service('{redirect: {uri: "/a\\r\\nx: y"}}'),
        "7:22: error: spec.http[0].redirect.uri: expected one line of at most 16384 characters",
    ),
    (
        virtual_service(f"{ROUTE}, timeout: 999999999h}}"),
        "7:50: error: spec.http[0].timeout: expected a duration of at most 87600h (ten years)",
    ),
    (
        virtual_service(f"{ROUTE}, timeout: {'9' * 500}ns}}"),
        "7:50: error: spec.http[0].timeout: expected a duration of at most 87600h (ten years)",
    ),
    (
        virtual_service("{match: [{headers: {uri: {exact: a}}}], redirect: {uri: /}}"),
        "7:24: error: spec.http[0].match[0].headers: use match.uri instead of a header 'uri'",
    ),
    (
        virtual_service("{name: x}"),
        "7:5: error: spec.http[0]: expected exactly one of route, redirect, directResponse, del",
    ),
    (
        virtual_service(f"{ROUTE}, redirect: {{uri: /}}}}"),
        "7:5: error: spec.http[0]: expected exactly one of route, redirect, directResponse, "
        "delegate, got route and redirect",
    ),
    (
        virtual_service("{route: [{destination: {host: b}, weight: 0}, {destination: {host: c}}]}"),
        "7:13: error: spec.http[0].route: the weights are all 0",
    ),
    (
        virtual_service(f"{ROUTE}, retries: {{attempts: 1, retryOn: '5xx,sometimes'}}}}"),
        "7:73: error: spec.http[0].retries.retryOn: no retry condition 'sometimes'; expected",
    ),
    (
        virtual_service(f"{ROUTE}, fault: {{}}}}"),
        "7:48: error: spec.http[0].fault: needs a delay or an abort",
    ),
    (
        virtual_service(f"{ROUTE}, fault: {{delay: {{exponentialDelay: 1s}}}}}}"),
        "7:57: error: spec.http[0].fault.delay.exponentialDelay is not supported yet",
    ),
    (
        virtual_service(f"{ROUTE}, corsPolicy: {{maxAge: 1.5s}}}}"),
        "7:62: error: spec.http[0].corsPolicy.maxAge: expected whole seconds, got '1.5s'",
    ),
    (
        virtual_service(f"{ROUTE}, mirrors: [], mirrorPercentage: {{value: 101}}}}"),
        "7:80: error: spec.http[0].mirrorPercentage.value: expected a number 0..100, got the int",
    ),
    (
        virtual_service(f"{ROUTE}, rewrite: {{uriRegexRewrite: {{match: '(', rewrite: x}}}}}}"),
        "7:76: error: spec.http[0].rewrite.uriRegexRewrite.match: not a regular expression",
    ),
    (
        virtual_service(f"{ROUTE}}}", "\n  tcp: [{}]"),
        "6:9: error: spec.tcp[0].route is required",
    ),
    (
        virtual_service(f"{ROUTE}}}", "\n  tls: [{match: [{sniHosts: [c]}], route: []}]"),
        "6:43: error: spec.tls[0].route: expected at least 1 item, got a list",
    ),
    (
        virtual_service(f"{ROUTE}}}", "\n  exportTo: [x_y]"),
        "6:14: error: spec.exportTo[0]: expected a namespace or one of '*', '.', got 'x_y'",
    ),
    (
        virtual_service("{delegate: {name: d}, match: [{uri: {regex: a}}]}"),
        "7:35: error: spec.http[0].match[0]: uri: no regex where rules are delegated",
    ),
    (
        destination_rule(
            "trafficPolicy: {loadBalancer: {zoneAwareLbSetting: {}, localityLbSetting: {}}}"
        ),
        "6:54: error: spec.trafficPolicy.loadBalancer.zoneAwareLbSetting: and localityLbSetting "
        "exclude each other",
    ),
    (
        virtual_service(
            "{fault: {delay: {exponentialDelay: 1s}}, route: [{destination: {host: a}}]}"
        ),
        "7:22: error: spec.http[0].fault.delay.exponentialDelay is not supported yet",
    ),
    (
        destination_rule("trafficPolicy: {loadBalancer: {consistentHash: {}}}"),
        "6:50: error: spec.trafficPolicy.loadBalancer.consistentHash: expected one of httpHea",
    ),
    (
        destination_rule(
            "trafficPolicy: {loadBalancer: {consistentHash: "
            "{useSourceIp: true, maglev: {tableSize: 4}}}}"
        ),
        "6:90: error: spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: expected",
    ),
    (
        destination_rule(
            "trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: "
            "[{from: a/b, to: {a/b: 40, c: 50}}]}}}"
        ),
        "6:83: error: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: the sha",
    ),
    (
        destination_rule("subsets: [{name: a}, {name: a}]"),
        "6:24: error: spec.subsets[1]: the subset 'a' is given twice",
    ),
    (
        destination_rule("trafficPolicy: {outlierDetection: {interval: 0s}}"),
        "6:48: error: spec.trafficPolicy.outlierDetection.interval: expected a duration of at l",
    ),
]


@pytest.mark.parametrize(("text", "expected"), HEADS + FIELDS)
def test_a_mistake_is_said_with_its_place(text: str, expected: str) -> None:
    found = said(text)
    assert len(found) == 1, found
    assert found[0].startswith(f"m.yaml:{expected}"), found[0]
    assert not read(text).objects


def test_all_mistakes_of_an_object_are_said_at_once() -> None:
    text = service("{port: no, targetPort: [1], protocol: 5}\n  colour: red")
    assert [line.split(" error: ")[0] for line in said(text)] == [
        "m.yaml:6:12:",
        "m.yaml:6:28:",
        "m.yaml:6:43:",
        "m.yaml:7:3:",
    ]


def test_a_wrong_object_does_not_disturb_its_neighbours_and_is_named() -> None:
    parsed = read(service("{port: 80}") + "---\n" + service("{port: x}").replace(": a}", ": bad}"))
    assert [str(item.key) for item in parsed.objects] == ["Service default/a"]
    assert [str(key) for key in parsed.failed] == ["Service default/bad"]
    assert parsed.whole
    assert [status.object for status in parsed.statuses] == ["Service default/bad"]


def test_an_object_without_a_name_can_not_be_attributed() -> None:
    parsed = read("apiVersion: v1\nkind: Service\nmetadata: {}\nspec: {}\n")
    assert not parsed.whole
    assert not parsed.failed


def test_lists_and_several_documents_and_json_are_read() -> None:
    parsed = read(
        """\
        {"apiVersion": "v1", "kind": "List", "items": [
          {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "uid": "1"}},
          {"apiVersion": "v1", "kind": "ServiceAccount", "metadata":
             {"name": "b", "namespace": "a", "creationTimestamp": null}}]}
        ---
        apiVersion: v1
        kind: Namespace
        metadata:
          name: c
        """
    )
    assert [str(item.key) for item in parsed.objects] == [
        "Namespace default/a",
        "ServiceAccount a/b",
        "Namespace default/c",
    ]
    assert [item.position.line for item in parsed.objects] == [2, 3, 6]
    assert not parsed.statuses


def test_fields_without_effect_are_accepted_and_some_are_told() -> None:
    parsed = read(
        service("{port: 80}") + "  externalTrafficPolicy: Local\n  sessionAffinity: None\n"
    )
    assert len(parsed.objects) == 1
    (status,) = parsed.statuses
    assert (status.severity, status.code) == ("info", "NoEffect")
    assert str(status.position) == "m.yaml:8:3"
    assert "spec.sessionAffinity has no effect" in status.message
    parsed = read("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: '[', b: c}\n")
    assert isinstance(parsed.objects[0], ConfigMap)
    assert parsed.statuses == ()


def test_null_is_the_same_as_missing() -> None:
    parsed = read(service("{port: 80, name: null, targetPort: ~}") + "  selector:\n")
    assert not parsed.statuses
    (item,) = parsed.objects
    assert isinstance(item, Service)
    assert item.spec.ports[0].target_port is None
    assert said("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n") == [
        "m.yaml:1:1: error: spec is required (Service default/a)"
    ]


def test_equality_is_by_meaning_and_values_keep_their_places() -> None:
    (one,) = read(service("{port: 80, targetPort: 8080}")).objects
    (other,) = read("# moved\n" + service("{targetPort: 8080,   port: 80}")).objects
    (third,) = read(service("{port: 80, targetPort: http}")).objects
    assert one == other
    assert one != third
    assert isinstance(other, Service)
    assert str(other.spec.ports[0].at("port")) == "m.yaml:7:32"
    assert str(other.spec.at("ports[0]")) == "m.yaml:7:5"
    assert str(other.spec.at("absent")) == "m.yaml:6:3"
