"""Which of Istio's metrics are counted for whom, and with which labels."""

from __future__ import annotations

import pytest

from controlplane.inventory import Snapshot
from controlplane.kinds.parse import parse
from controlplane.mesh.metering import METERED, Metered, MetricRule
from controlplane.mesh.metering import Metrics as Counted
from controlplane.mesh.model import Status
from controlplane.translate import build
from controlplane.translate.metric_tags import ATTRIBUTES, MAPPINGS, STANDARD
from controlplane.translate.metrics import NAMES
from proxy.config.filters import decode_istio_stats as taken
from proxy.config.model.istio import Peer
from proxy.filters.istio_labels import service_labels, workload_labels
from tests.controlplane.translate.test_telemetry import mesh_config

OFF = "{match: {metric: ALL_METRICS}, disabled: true}"


def telemetry(place: str, metrics: str, selector: str = "") -> str:
    """place: NAMESPACE/NAME."""
    namespace, name = place.split("/")
    chosen = f"selector: {{matchLabels: {{app: {selector}}}}}, " if selector else ""
    return f"""{{apiVersion: telemetry.istio.io/v1, kind: Telemetry,
      metadata: {{name: {name}, namespace: {namespace}}},
      spec: {{{chosen}metrics: {metrics}}}}}"""


def overrides(*texts: str) -> str:
    return f"[{{overrides: [{', '.join(texts)}]}}]"


def metered(
    *texts: str, namespace: str = "default", app: str = "web"
) -> tuple[Metered, tuple[Status, ...]]:
    parsed = parse("\n---\n".join(texts), "m.yaml")
    assert not parsed.has_errors, parsed.statuses
    mesh, statuses = build(Snapshot(parsed.objects), "cluster.local")
    found = [one.metered for one in mesh.metrics if one.scope.takes(namespace, {"app": app})]
    beside = tuple(one for one in statuses if one.code != "WeftProxies")
    said = [one for one in texts if "kind: Telemetry" in one]
    assert len(statuses) - len(beside) == len(said)
    return (found or [METERED])[0], beside


def test_everything_is_counted_where_nobody_says_anything() -> None:
    assert metered() == (METERED, ())
    assert metered(mesh_config("defaultProviders: {accessLogging: [envoy]}")) == (METERED, ())
    providers = "extensionProviders: [{name: prometheus, prometheus: {}}]"
    assert metered(mesh_config(providers)) == (METERED, ())


def test_the_mesh_says_that_nothing_is() -> None:
    assert metered(mesh_config("defaultProviders: {metrics: []}"))[0] == Metered()
    found, statuses = metered(mesh_config("defaultProviders: {metrics: [other]}"))
    assert found == Metered()
    assert [status.code for status in statuses] == ["UnknownProvider"]


def test_a_metric_by_side() -> None:
    text = overrides(
        "{match: {metric: REQUEST_SIZE, mode: CLIENT}, disabled: true}",
        "{match: {metric: REQUEST_COUNT, mode: SERVER}, tagOverrides: "
        "{method: {value: request.method}, response_flags: {operation: REMOVE}}}",
    )
    found, statuses = metered(telemetry("istio-system/all", text))
    assert statuses == ()
    assert found.client == Counted((MetricRule("request_bytes", dropped=True),))
    rule = MetricRule("requests_total", False, ("response_flags",), (("method", "request.method"),))
    assert found.server == Counted((rule,))


def test_levels_are_laid_over_each_other() -> None:
    root = telemetry("istio-system/root", overrides(OFF))
    one = "{match: {metric: REQUEST_COUNT}, disabled: false}"
    space = telemetry("default/space", overrides(one))
    tag = "{match: {metric: REQUEST_COUNT, mode: CLIENT}, tagOverrides: {a: {value: '\"b\"'}}}"
    web = telemetry("default/web", overrides(tag), "web")
    assert metered(root, namespace="other")[0] == Metered()
    found, _ = metered(root, space, app="cart")
    assert found.client is not None and found.client == found.server
    left = {rule.metric for rule in found.client.rules}
    assert left == set(NAMES.values()) - {"requests_total"}
    assert all(rule.dropped for rule in found.client.rules)
    found, _ = metered(root, space, web)
    assert found.client is not None and found.server is not None
    (rule,) = (one for one in found.client.rules if not one.dropped)
    assert rule == MetricRule("requests_total", tags=(("a", '"b"'),))
    assert all(one.dropped for one in found.server.rules)


def test_one_side_only() -> None:
    off = "{match: {metric: ALL_METRICS, mode: CLIENT}, disabled: true}"
    assert metered(telemetry("default/x", overrides(off)))[0] == Metered(None, Counted())


def test_providers() -> None:
    mesh = mesh_config(
        "extensionProviders: [{name: mine, prometheus: {}}, "
        "{name: file, envoyFileAccessLog: {path: /f}}]"
    )
    found, statuses = metered(mesh, telemetry("default/x", "[{providers: [{name: mine}]}]"))
    assert (found, statuses) == (METERED, ())
    found, statuses = metered(mesh, telemetry("default/x", "[{providers: [{name: file}]}]"))
    assert found == Metered()
    (status,) = statuses
    assert status.code == "UnknownProvider" and "is no prometheus" in status.message
    # What was said of another provider does not hold for the one that is left.
    root = telemetry("istio-system/r", f"[{{providers: [{{name: mine}}], overrides: [{OFF}]}}]")
    back = telemetry("default/x", "[{providers: [{name: prometheus}]}]")
    assert metered(mesh, root, back)[0] == METERED


def test_intervals() -> None:
    found, statuses = metered(telemetry("default/x", "[{reportingInterval: 15s}]"))
    assert found == Metered(Counted(interval_s=15), Counted(interval_s=15)) and statuses == ()
    _, statuses = metered(telemetry("default/x", "[{reportingInterval: 0.1s}]"))
    assert [status.code for status in statuses] == ["NoEffect"]


@pytest.mark.parametrize(
    ("override", "code", "part"),
    [
        ("{tagOverrides: {a: {value: 'request.size > 1'}}}", "NotSupported", "'request.size > 1'"),
        ("{tagOverrides: {a-b: {value: request.host}}}", "NotSupported", "'a-b' is no name"),
        ("{tagOverrides: {le: {value: request.host}}}", "NotSupported", "edge of a bucket"),
        ("{tagOverrides: {mine: {operation: REMOVE}}}", "NoEffect", "'mine'"),
        ("{match: {customMetric: mine}, disabled: true}", "NotSupported", "match.customMetric"),
    ],
)
def test_what_has_no_effect_is_told(override: str, code: str, part: str) -> None:
    found, statuses = metered(telemetry("default/x", overrides(override)))
    (status,) = statuses
    assert status.code == code and str(status.position).startswith("m.yaml:")
    assert part in status.message
    tags = [rule.tags for rule in (found.client.rules if found.client else ())]
    assert not any(tags)


def test_the_proxy_takes_what_is_taken_here() -> None:
    assert (ATTRIBUTES, MAPPINGS) == (taken.ATTRIBUTES, taken.MAPPINGS)
    assert set(NAMES.values()) == set(taken.HTTP_METRICS + taken.TCP_METRICS)
    nobody = Peer()
    labels = {
        *(name for name, _ in workload_labels("source", nobody, "")),
        *(name for name, _ in workload_labels("destination", nobody, "")),
        *(name for name, _ in service_labels("", "", "")),
    }
    assert labels < STANDARD and len(STANDARD) == 25
