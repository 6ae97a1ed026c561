"""Which access logs hold for whom: levels, providers, modes; formats that a proxy would refuse."""

from __future__ import annotations

import pytest
import yaml

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Status
from controlplane.mesh.scopes import GATEWAY_NAME
from controlplane.mesh.telemetry import ALWAYS, AccessLog, Compared, Logs, LogService, LogTest
from controlplane.translate import build
from controlplane.translate.log_formats import (
    NEEDS_PARAMETER,
    OPERATORS,
    TAKES_PARAMETER,
    json_fault,
    text_fault,
)
from proxy.http.format_string import OPERATORS as WRITTEN
from proxy.http.format_string import FormatError, check_format

PROVIDERS = """
extensionProviders:
- {name: one, envoyFileAccessLog: {path: /1}}
- {name: two, envoyFileAccessLog: {path: /2}}
"""
ERRORS = Compared("status", "GE", 500)


def mesh_config(text: str) -> str:
    data = {"mesh": text}
    metadata = {"name": "istio", "namespace": "istio-system"}
    return yaml.safe_dump(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    )


def telemetry(place: str, logging: str, selector: str = "") -> str:
    """place: NAMESPACE/NAME."""
    namespace, name = place.split("/")
    chosen = f"selector: {{matchLabels: {{app: {selector}}}}}, " if selector else ""
    return f"""{{apiVersion: telemetry.istio.io/v1, kind: Telemetry,
      metadata: {{name: {name}, namespace: {namespace}}},
      spec: {{{chosen}accessLogging: {logging}}}}}"""


def logs(
    *texts: str, namespace: str = "default", app: str = "web"
) -> tuple[Logs, tuple[Status, ...]]:
    parsed = parse("\n---\n".join(texts), "m.yaml")
    assert not parsed.has_errors, parsed.statuses
    mesh, statuses = build(Snapshot(parsed.objects), "cluster.local")
    found = [one.logs for one in mesh.logs if one.scope.takes(namespace, {"app": app})]
    return (found or [Logs()])[0], statuses


def paths(found: tuple[AccessLog, ...]) -> list[str]:
    return [one.path for one in found]


def wanted(found: tuple[AccessLog, ...]) -> dict[str, LogTest]:
    return {one.path: one.wanted for one in found}


def test_nothing_said_is_istios_log_of_everything() -> None:
    assert logs() == (Logs(), ())
    assert logs(mesh_config("{}"))[0] == Logs()


def test_the_mesh_says_where_and_how() -> None:
    text = 'accessLogFile: /f\naccessLogEncoding: JSON\naccessLogFormat: \'{"a": "%PROTOCOL%"}\''
    found, _ = logs(mesh_config(text))
    log = AccessLog("/f", "JSON", '{"a": "%PROTOCOL%"}')
    assert found == Logs((log,), (log,))
    assert logs(mesh_config('accessLogFile: ""'))[0] == Logs((), ())
    of_default = mesh_config(PROVIDERS + "defaultProviders: {accessLogging: [two, one]}")
    assert paths(logs(of_default)[0].client) == ["/2", "/1"]


def test_levels_name_providers_and_turn_them_off() -> None:
    config = mesh_config(PROVIDERS)
    everywhere = telemetry("istio-system/all", "[{providers: [{name: one}, {name: two}]}]")
    quiet = telemetry("default/quiet", "[{disabled: true}]")
    loud = telemetry("default/loud", "[{providers: [{name: two}]}]", "loud")
    assert paths(logs(config, everywhere)[0].server) == ["/1", "/2"]
    assert logs(config, everywhere, quiet)[0] == Logs((), ())
    assert paths(logs(config, everywhere, quiet, namespace="x")[0].server) == ["/1", "/2"]
    assert paths(logs(config, everywhere, quiet, loud, app="loud")[0].server) == ["/2"]


def test_modes_are_apart() -> None:
    text = (
        "[{match: {mode: CLIENT}, providers: [{name: one}]}, "
        "{match: {mode: SERVER}, providers: [{name: two}]}]"
    )
    found, _ = logs(mesh_config(PROVIDERS), telemetry("default/t", text))
    assert (paths(found.client), paths(found.server)) == (["/1"], ["/2"])
    only = telemetry("default/t", "[{match: {mode: SERVER}, disabled: true}]")
    assert logs(only)[0] == Logs((AccessLog(),), ())


def test_filters_stay_until_another_is_named() -> None:
    errors = "filter: {expression: 'response.code >= 500'}"
    first = telemetry("istio-system/t", f"[{{providers: [{{name: one}}], {errors}}}]")
    second = telemetry("default/t", "[{disabled: false}]")
    assert wanted(logs(mesh_config(PROVIDERS), first, second)[0].client) == {"/1": ERRORS}
    plain = telemetry("default/t", "[{providers: [{name: one}]}]")
    assert wanted(logs(mesh_config(PROVIDERS), first, plain)[0].client) == {"/1": ALWAYS}
    inherited = telemetry("default/t", f"[{{{errors}}}]")
    assert wanted(logs(inherited)[0].client) == {"/dev/stdout": ERRORS}


def test_the_older_one_of_two_stays_in_force() -> None:
    one = telemetry("default/one", "[{disabled: true}]")
    two = telemetry("default/two", "[{disabled: false}]")
    found, statuses = logs(one, two)
    assert found == Logs((), ())
    assert [status.code for status in statuses] == ["Conflict"]


def test_a_gateway_is_chosen_by_its_name() -> None:
    text = """{apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {name: t},
      spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}],
        accessLogging: [{disabled: true}]}}"""
    parsed = parse(text, "m.yaml")
    mesh, _ = build(Snapshot(parsed.objects), "cluster.local")
    chosen = [one.logs for one in mesh.logs if one.scope.takes("default", {GATEWAY_NAME: "edge"})]
    assert chosen == [Logs((), ())]
    assert not mesh.logs[0].scope.takes("default", {"app": "web"})


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ([telemetry("a/b", "[{providers: [{name: nobody}]}]")], "UnknownProvider"),
        ([mesh_config("defaultProviders: {accessLogging: [nobody]}")], "UnknownProvider"),
        ([mesh_config("accessLogFormat: '%NO_SUCH%'")], "InvalidFormat"),
        ([mesh_config("accessLogEncoding: JSON\naccessLogFormat: '[]'")], "InvalidFormat"),
        ([telemetry("a/b", "[{filter: {expression: 'a.b == 1'}}]")], "NotSupported"),
    ],
)
def test_what_is_wrong_is_told(texts: list[str], code: str) -> None:
    _, statuses = logs(*texts)
    assert {status.code for status in statuses} == {code}


# --------------------------------------------------------------------------- formats


def test_the_operators_are_those_that_wefts_proxy_writes_in_a_log() -> None:
    """LOCAL_REPLY_BODY is there in bodies only."""
    assert WRITTEN.keys() - OPERATORS == {"LOCAL_REPLY_BODY"}
    assert not OPERATORS - WRITTEN.keys()
    assert {name for name, one in WRITTEN.items() if one.args == "required"} == NEEDS_PARAMETER
    assert {name for name, one in WRITTEN.items() if one.args != "none"} == TAKES_PARAMETER


@pytest.mark.parametrize(
    "text",
    ["", "%", "%%", "%A", "%PROTOCOL%%", "%REQ%", "%REQ(a)%", "%PROTOCOL(a)%", "a%REQ(a?b):9%b",
     "%NO%", "%START_TIME(%Y)%", "%START_TIME(x)%"],
)  # fmt: skip
def test_a_format_is_refused_as_the_proxy_refuses_it(text: str) -> None:
    try:
        check_format(text)
        refused = False
    except FormatError:
        refused = True
    assert bool(text_fault(text)) == refused


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "no JSON"), ("1", "no JSON object"), ('{"a": ["%X%"]}', "%X%"), ("[" * 10**5, "nested")],
)
def test_json_formats(text: str, says: str) -> None:
    assert says in json_fault(text)
    assert json_fault('{"a": {"b": 1, "c": "%PROTOCOL%"}}') == ""


SERVICES = """
extensionProviders:
- {name: requests, envoyHttpAls: {service: logs.default.svc.cluster.local, port: 9001}}
- name: connections
  envoyTcpAls: {service: default/logs.default.svc.cluster.local, port: 9001, logName: mine}
- {name: nowhere, envoyTcpAls: {service: none.default.svc.cluster.local, port: 9001}}
- {name: no-port, envoyHttpAls: {service: logs.default.svc.cluster.local, port: 1}}
- {name: no-otel, envoyOtelAls: {service: other/logs.default.svc.cluster.local, port: 9001}}
- name: records
  envoyOtelAls: {service: default/logs.default.svc.cluster.local, port: 9001}
"""
LOGS = """{apiVersion: v1, kind: Service, metadata: {name: logs},
 spec: {ports: [{name: grpc, port: 9001}]}}"""


def test_a_service_is_told_of_what_a_provider_of_its_says() -> None:
    entries = "[{providers: [{name: requests}], filter: {expression: 'response.code >= 500'}}]"
    found, statuses = logs(LOGS, mesh_config(SERVICES), telemetry("default/t", entries))
    (log,) = found.server
    host = "logs.default.svc.cluster.local"
    peers = ("upstream_peer", "downstream_peer")
    assert log.service == LogService("http", host, 9001, "http_envoy_accesslog", peers)
    assert log.wanted == ERRORS
    assert statuses == ()


def test_a_service_may_be_told_beside_a_file() -> None:
    chosen = SERVICES + "defaultProviders: {accessLogging: [envoy, connections]}"
    file, told = logs(LOGS, mesh_config(chosen))[0].client
    assert file == AccessLog()
    assert told.service is not None
    assert (told.service.kind, told.service.log_name) == ("tcp", "mine")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere", "the mesh has no service"),
        ("no-port", "has no port 1"),
        ("no-otel", "the mesh has no service"),
    ],
)
def test_a_service_that_nobody_knows_logs_nothing(name: str, why: str) -> None:
    entries = f"[{{providers: [{{name: {name}}}]}}]"
    found, statuses = logs(LOGS, mesh_config(SERVICES), telemetry("default/t", entries))
    assert found == Logs((), ())
    (status,) = statuses
    assert why in status.message and "nothing is logged by it" in status.message


def record_log(log_format: str = "{}") -> tuple[LogService, tuple[Status, ...]]:
    """What the provider `records` is with that logFormat."""
    given = f"{SERVICES.rstrip()[:-1]}, logFormat: {log_format}}}\n"
    chosen = mesh_config(f"{given}defaultProviders: {{accessLogging: [records]}}")
    found, statuses = logs(LOGS, chosen)
    (log,) = found.client
    assert log.service is not None
    return log.service, statuses


def test_a_collector_of_opentelemetry_is_told_a_text_and_labels() -> None:
    plain, statuses = record_log()
    assert (plain.kind, plain.log_name, plain.port) == ("otel", "otel_envoy_accesslog", 9001)
    assert (plain.text, plain.labels, statuses) == ("", (), ())
    assert plain.filter_states[1:3] == ("downstream_peer", "wasm.upstream_peer")
    given, statuses = record_log("{text: '%PROTOCOL%', labels: {b: '%DURATION%', a: x}}")
    assert (given.text, given.labels) == ("%PROTOCOL%", (("a", "x"), ("b", "%DURATION%")))
    assert statuses == ()


def test_what_a_proxy_would_refuse_is_not_told() -> None:
    given, statuses = record_log("{text: '%X%', labels: {n: 1, bad: '%Y%', good: '%PROTOCOL%'}}")
    assert (given.text, given.labels) == ("", (("good", "%PROTOCOL%"),))
    assert [one.code for one in statuses] == ["InvalidFormat"] * 3
    said = " ".join(one.message for one in statuses)
    assert "%X% is not supported" in said and "Istio's is told instead" in said
    assert "the label 'bad' is no format: %Y%" in said and "'n' is no text: 1" in said
