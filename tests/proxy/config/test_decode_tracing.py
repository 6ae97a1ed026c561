"""What of a manager's tracing is refused, by its place."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.trace.v3 import http_tracer_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf.json_format import ParseDict

from proxy.config.decode_tracers import provider
from proxy.config.decode_tracing import manager_tracing
from proxy.config.model import FractionalPercent
from proxy.config.rejected import Rejected

TYPES = "type.googleapis.com/envoy."
OTEL = "extensions.tracers.opentelemetry."
GRPC = {"envoy_grpc": {"cluster_name": "c"}}


def typed(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": "n", "typed_config": {"@type": TYPES + name, **fields}}


def read(**fields: Any) -> Any:
    plain = typed("config.trace.v3.OpenTelemetryConfig", **fields)
    return provider(ParseDict(plain, http_tracer_pb2.Tracing.Http()), "p")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "p.typed_config"),
        (
            {
                "grpc_service": GRPC,
                "sampler": typed(OTEL + "samplers.v3.DynatraceSamplerConfig"),
            },
            "p.typed_config.sampler.typed_config",
        ),
        (
            {
                "grpc_service": GRPC,
                "resource_detectors": [
                    typed(OTEL + "resource_detectors.v3.DynatraceResourceDetectorConfig")
                ],
            },
            "p.typed_config.resource_detectors[0].typed_config",
        ),
        (
            {
                "grpc_service": {
                    **GRPC,
                    "initial_metadata": [{"key": "a", "value": "%REQ(x)%"}],
                }
            },
            "p.typed_config.grpc_service.initial_metadata[0].value",
        ),
    ],
)
def test_what_is_not_supported_is_refused_by_its_path(fields: dict[str, Any], path: str) -> None:
    from envoy.extensions.tracers.opentelemetry.resource_detectors.v3 import (  # noqa: F401
        dynatrace_resource_detector_pb2,
    )
    from envoy.extensions.tracers.opentelemetry.samplers.v3 import (  # noqa: F401
        dynatrace_sampler_pb2,
    )

    with pytest.raises(Rejected) as error:
        read(**fields)
    assert error.value.path == path


def test_samplers() -> None:
    share = {"sampling_percentage": {"numerator": 7, "denominator": "TEN_THOUSAND"}}
    by_id = typed(OTEL + "samplers.v3.TraceIdRatioBasedSamplerConfig", **share)
    wrapped = typed(OTEL + "samplers.v3.ParentBasedSamplerConfig", wrapped_sampler=by_id)
    always = typed(OTEL + "samplers.v3.AlwaysOnSamplerConfig")
    found = [read(grpc_service=GRPC, sampler=one) for one in (by_id, wrapped, always)]
    assert [(one.sampler, one.ratio) for one in found] == [
        ("trace_id_ratio", FractionalPercent(7, 10_000)),
        ("parent_based", FractionalPercent(7, 10_000)),
        ("always_on", None),
    ]


def test_detectors_of_resources_stand_over_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=s,broken")
    found = read(
        grpc_service=GRPC,
        resource_detectors=[
            typed(OTEL + "resource_detectors.v3.EnvironmentResourceDetectorConfig"),
            typed(
                OTEL + "resource_detectors.v3.StaticConfigResourceDetectorConfig",
                attributes={"a": "c"},
            ),
        ],
    )
    assert dict(found.resource) == {"a": "c", "service.name": "s"}


def test_shares_are_in_hundredths_of_a_percent() -> None:
    message = hcm_pb2.HttpConnectionManager()
    message.tracing.random_sampling.value = 0.125
    found = manager_tracing(message, "hcm").sampling
    assert found.random == FractionalPercent(12, 10_000, "tracing.random_sampling")
    assert found.overall == FractionalPercent(10_000, 10_000, "tracing.global_enabled")
