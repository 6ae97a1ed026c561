"""Of which requests there are spans, for whom: levels, providers, modes; what has no effect."""

from __future__ import annotations

import pytest
import yaml

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.model import Status
from controlplane.mesh.tracing import NOT_TRACED, Spans, Traces, TraceTag
from controlplane.translate import build

SERVICE = """
{apiVersion: v1, kind: Service, metadata: {name: col, namespace: obs},
 spec: {ports: [{name: grpc, port: 4317}]}}
"""
HOST = "col.obs.svc.cluster.local"
PROVIDERS = f"""
extensionProviders:
- {{name: one, opentelemetry: {{service: {HOST}, port: 4317}}}}
- {{name: two, opentelemetry: {{service: obs/{HOST}, port: 4317, maxTagLength: 9}}}}
- {{name: nowhere, opentelemetry: {{service: gone.default, port: 4317}}}}
- {{name: old, lightstep: {{service: {HOST}, port: 4317}}}}
- {{name: log, envoyFileAccessLog: {{path: /1}}}}
"""
BY_DEFAULT = PROVIDERS + "defaultProviders: {tracing: [one]}\n"


def mesh_config(text: str) -> str:
    metadata = {"name": "istio", "namespace": "istio-system"}
    return yaml.safe_dump(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": text}}
    )


def telemetry(place: str, tracing: str, selector: str = "") -> str:
    """place: NAMESPACE/NAME."""
    namespace, name = place.split("/")
    chosen = f"selector: {{matchLabels: {{app: {selector}}}}}, " if selector else ""
    return f"""{{apiVersion: telemetry.istio.io/v1, kind: Telemetry,
      metadata: {{name: {name}, namespace: {namespace}}},
      spec: {{{chosen}tracing: {tracing}}}}}"""


def traces(
    *texts: str, namespace: str = "default", app: str = "web"
) -> tuple[Traces, tuple[Status, ...]]:
    parsed = parse("\n---\n".join((SERVICE, *texts)), "m.yaml")
    assert not parsed.has_errors, parsed.statuses
    mesh, statuses = build(Snapshot(parsed.objects), "cluster.local")
    found = [one.traces for one in mesh.traces if one.scope.takes(namespace, {"app": app})]
    return (found or [NOT_TRACED])[0], statuses


def client(*texts: str, namespace: str = "default", app: str = "web") -> Spans:
    found = traces(*texts, namespace=namespace, app=app)[0].client
    assert found is not None
    return found


def said(statuses: tuple[Status, ...]) -> list[tuple[str, str]]:
    return [(one.code, one.message) for one in statuses]


def test_without_a_provider_there_are_no_spans() -> None:
    asks = telemetry("default/t", "[{randomSamplingPercentage: 100}]")
    assert traces(mesh_config(PROVIDERS), asks)[0].client is None
    assert traces(mesh_config("{}"))[0] == NOT_TRACED


def test_the_default_provider_holds_for_all_with_istios_share() -> None:
    found = traces(mesh_config(BY_DEFAULT))[0]
    assert found.client == found.server
    spans = client(mesh_config(BY_DEFAULT))
    assert (spans.collector.host, spans.percent, spans.tells_workload) == (HOST, 1.0, True)


def test_what_a_level_says_stands_over_the_wider_ones_field_by_field() -> None:
    config = mesh_config(BY_DEFAULT)
    mesh = telemetry(
        "istio-system/all",
        "[{randomSamplingPercentage: 50, customTags: {a: {literal: {value: x}}}}]",
    )
    space = telemetry("default/space", "[{providers: [{name: two}]}]")
    one = telemetry("default/one", "[{customTags: {b: {header: {name: x-b}}}}]", "one")
    spans = client(config, mesh, space)
    assert (spans.percent, spans.max_path) == (50, 9)
    assert spans.tags == (TraceTag("a", "literal", "x"),)
    spans = client(config, mesh, space, one, app="one")
    assert (spans.percent, spans.max_path) == (50, 9)
    assert spans.tags == (TraceTag("b", "header", "x-b"),)
    assert client(config, mesh, space, namespace="other").max_path == 0


def test_directions_are_apart() -> None:
    silent = telemetry("default/t", "[{match: {mode: SERVER}, disableSpanReporting: true}]")
    found = traces(mesh_config(BY_DEFAULT), silent)[0]
    assert found.client is not None
    assert found.server is None


def test_the_proxies_settings_say_how_many() -> None:
    config = (
        BY_DEFAULT
        + "defaultConfig: {tracing: {sampling: 10, maxPathTagLength: 5, enableIstioTags: false}}"
    )
    spans = client(mesh_config(config))
    assert (spans.percent, spans.max_path, spans.tells_workload) == (10, 5, False)


def test_what_has_no_effect_is_said() -> None:
    asks = telemetry(
        "default/t",
        "[{providers: [{name: nowhere}, {name: old}, {name: log}, {name: none}], "
        "disableContextPropagation: true, "
        "customTags: {a: {formatter: {value: '%NO_SUCH%'}}}}]",
    )
    config = mesh_config(PROVIDERS + "enableTracing: true\ndefaultProviders: {tracing: [log]}")
    found, statuses = traces(config, asks)
    assert found.client is None
    told = said(statuses)
    for reason, words in (
        ("UnknownProvider", "reaches nobody (the mesh has no service 'gone.default')"),
        ("UnknownProvider", "the provider 'old' is neither opentelemetry nor zipkin"),
        ("UnknownProvider", "the provider 'log' is neither opentelemetry nor zipkin"),
        ("UnknownProvider", "the MeshConfig has no extensionProvider 'none'"),
        ("UnknownProvider", "defaultProviders.tracing: the provider 'log'"),
        ("NoEffect", "disableContextPropagation has no effect"),
        ("NoEffect", "spec.tracing has no effect: nobody is named"),
        ("InvalidFormat", "customTags: 'a'"),
    ):
        assert any(words in message and why == reason for why, message in told), (words, told)


def test_enabling_alone_makes_no_spans_and_says_so() -> None:
    statuses = traces(mesh_config("enableTracing: true"))[1]
    assert any("enableTracing: nobody is named" in message for _, message in said(statuses))


def test_of_several_providers_the_first_is_told_and_it_is_said() -> None:
    asks = telemetry("default/t", "[{providers: [{name: nowhere}, {name: two}, {name: one}]}]")
    config = mesh_config(PROVIDERS + "defaultProviders: {tracing: [one, two]}")
    found, statuses = traces(config, asks)
    assert found.client is not None
    assert found.client.collector.max_path == 9
    told = [message for code, message in said(statuses) if code == "NoEffect"]
    assert told == [
        "defaultProviders.tracing: spans go to 'one' alone, not to 'two'",
        "'one' is told of nothing: spans go to 'two' alone",
    ]


@pytest.mark.parametrize("tag", ["{}", "{formatter: {value: '%NO_SUCH%'}}"])
def test_a_tag_that_is_left_out_is_told_wherever_it_stands(tag: str) -> None:
    tags = f"customTags: {{a: {tag}}}"
    config = BY_DEFAULT + f"defaultConfig: {{tracing: {{{tags}}}}}"
    asks = telemetry("default/t", f"[{{{tags}}}]")
    found, statuses = traces(mesh_config(config), asks)
    assert found.client is not None
    assert found.client.tags == ()
    assert len([one for one in statuses if "customTags: 'a'" in one.message]) == 2


@pytest.mark.parametrize("name", ["a\\nb", "a b", "\\0", "é"])
def test_what_is_no_header_is_refused_with_its_place(name: str) -> None:
    """Proxies would refuse the listener."""
    asks = telemetry("default/t", f'[{{customTags: {{a: {{header: {{name: "{name}"}}}}}}}}]')
    (status,) = parse(asks, "m.yaml").statuses
    assert "customTags.a.header.name" in status.message
    assert not parse(asks.replace(name, ":path"), "m.yaml").statuses


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ('grpc: {initialMetadata: [{name: "a\\nb", value: x}]}', "initialMetadata[0].name"),
        ('http: {path: /, headers: [{name: ":path", value: x}]}', "headers[0].name"),
        ('http: {path: "/ HTTP/1.1\\r\\nx: y"}', "http.path"),
    ],
)
def test_what_a_collector_can_not_be_told_is_refused(given: str, place: str) -> None:
    provider = f"{{name: one, opentelemetry: {{service: {HOST}, port: 4317, {given}}}}}"
    parsed = parse(mesh_config(f"extensionProviders: [{provider}]"), "m.yaml")
    assert [place in one.message for one in parsed.statuses] == [True]
