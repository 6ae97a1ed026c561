"""Retry policies, limits, outlier detection and health checks as they are read."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_components_pb2
from google.protobuf import json_format

from proxy.config import model
from proxy.config.any_types import import_all
from proxy.config.decode_cds import cluster
from proxy.config.decode_common import checked
from proxy.config.decode_eds import load_assignment
from proxy.config.decode_retry import retry_policy
from proxy.config.rejected import Rejected

TYPES = "type.googleapis.com/envoy.extensions.retry."
CHECK = {
    "timeout": "1s",
    "interval": "2s",
    "unhealthy_threshold": 3,
    "healthy_threshold": 2,
}


def retry(**fields: Any) -> model.RetryPolicy:
    message = json_format.ParseDict(fields, route_components_pb2.RetryPolicy())
    return retry_policy(checked(message), "retry_policy")


def a_cluster(**fields: Any) -> model.Cluster:
    message = json_format.ParseDict({"name": "a", **fields}, cluster_pb2.Cluster())
    return cluster(checked(message))


def check(**fields: Any) -> model.HealthCheck:
    found = a_cluster(health_checks=[{**CHECK, **fields}]).health_check
    assert found is not None
    return found


class TestRetry:
    def test_all_words(self) -> None:
        words = (
            "5xx,gateway-error, reset ,reset-before-request,connect-failure,envoy-ratelimited,"
            "retriable-4xx,refused-stream,retriable-status-codes,retriable-headers,"
            "http3-post-connect-failure,cancelled,deadline-exceeded,internal,resource-exhausted,"
            "unavailable"
        )
        assert len(retry(retry_on=words).retry_on) == 16

    def test_a_word_that_is_none(self) -> None:
        with pytest.raises(Rejected, match=r"retry_policy.retry_on: `5x` is no retry condition"):
            retry(retry_on="5xx,5x")

    @pytest.mark.parametrize(
        "back_off, expected",
        [
            ({"base_interval": "0.1s"}, (0.1, 1.0)),
            ({"base_interval": "0.1s", "max_interval": "0.3s"}, (0.1, 0.3)),
            ({"base_interval": "0.0001s"}, (0.001, 0.01)),
            ({"base_interval": "0.0001s", "max_interval": "0.0002s"}, (0.001, 0.001)),
        ],
    )
    def test_back_off(self, back_off: dict[str, str], expected: tuple[float, float]) -> None:
        assert retry(retry_back_off=back_off).back_off == model.RetryBackOff(*expected)

    def test_a_maximum_below_the_base(self) -> None:
        with pytest.raises(Rejected, match="max_interval: is less than base_interval"):
            retry(retry_back_off={"base_interval": "1s", "max_interval": "0.5s"})

    def test_rate_limited_back_off(self) -> None:
        headers = [{"name": "Retry-After"}, {"name": "X-Reset", "format": "UNIX_TIMESTAMP"}]
        found = retry(rate_limited_retry_back_off={"reset_headers": headers})
        assert found.rate_limited_back_off == model.RateLimitedBackOff(
            (
                model.ResetHeader("retry-after", "SECONDS"),
                model.ResetHeader("x-reset", "UNIX_TIMESTAMP"),
            ),
            300.0,
        )

    def test_predicates_and_priorities(self) -> None:
        import_all()
        canary = {"filter_metadata": {"envoy.lb": {"stage": "old"}, "other": {"a": 1}}}
        hosts = [
            ("previous_hosts.v3.PreviousHostsPredicate", {}),
            ("omit_canary_hosts.v3.OmitCanaryHostsPredicate", {}),
            ("omit_host_metadata.v3.OmitHostMetadataConfig", {"metadata_match": canary}),
        ]
        found = retry(
            retry_host_predicate=[
                {"name": kind, "typed_config": {"@type": f"{TYPES}host.{kind}", **fields}}
                for kind, fields in hosts
            ],
            host_selection_retry_max_attempts=4,
            retry_priority={
                "name": "p",
                "typed_config": {
                    "@type": f"{TYPES}priority.previous_priorities.v3.PreviousPrioritiesConfig",
                    "update_frequency": 2,
                },
            },
        )
        assert found.previous_hosts and found.omit_canary_hosts
        assert found.omit_host_metadata == ({"stage": "old"},)
        assert found.host_selection_retry_max_attempts == 4
        assert found.previous_priorities == 2

    def test_options_predicates_are_refused_by_name(self) -> None:
        with pytest.raises(Rejected, match=r"^retry_options_predicates: "):
            retry(retry_options_predicates=[{"name": "mine"}])


class TestLimits:
    def test_thresholds(self) -> None:
        breakers = {
            "thresholds": [
                {"max_requests": 1, "track_remaining": True, "max_connection_pools": 7},
                {"priority": "HIGH", "retry_budget": {}},
            ],
            "per_host_thresholds": [{"max_connections": 5}],
        }
        found = a_cluster(circuit_breakers=breakers)
        assert found.thresholds_default == model.Thresholds(
            max_requests=1,
            track_remaining=True,
            max_connection_pools=7,
            max_connections_per_host=5,
        )
        assert found.thresholds_high == model.Thresholds(budget_percent=20.0)

    def test_outlier_detection_has_envoys_defaults(self) -> None:
        assert a_cluster(outlier_detection={}).outlier == model.OutlierDetection()

    def test_outlier_detection(self) -> None:
        found = a_cluster(
            outlier_detection={
                "success_rate_stdev_factor": 1000,
                "enforcing_failure_percentage": 50,
                "max_ejection_time_jitter": "2s",
                "base_ejection_time": "400s",
                "successful_active_health_check_uneject_host": False,
            }
        ).outlier
        assert found == model.OutlierDetection(
            success_rate_stdev_factor=1000,
            enforcing_failure_percentage=50,
            max_ejection_time_jitter_s=2.0,
            base_ejection_time_s=400.0,
            max_ejection_time_s=400.0,
            successful_active_health_check_uneject_host=False,
        )

    def test_the_longest_ejection_is_not_below_the_base(self) -> None:
        with pytest.raises(Rejected, match=r"^outlier_detection.max_ejection_time: "):
            a_cluster(outlier_detection={"max_ejection_time": "1s"})


class TestHealthChecks:
    def test_intervals_that_are_not_set(self) -> None:
        found = check(tcp_health_check={})
        assert (found.unhealthy_interval_s, found.unhealthy_edge_interval_s) == (2.0, 2.0)
        assert (found.healthy_edge_interval_s, found.no_traffic_healthy_interval_s) == (2.0, 60.0)

    def test_http(self) -> None:
        found = check(
            http_health_check={
                "path": "/ready",
                "host": "h",
                "method": "HEAD",
                "codec_client_type": "HTTP2",
                "expected_statuses": [{"start": 200, "end": 300}],
                "retriable_statuses": [{"start": 503, "end": 504}],
                "receive": [{"text": "6f6b"}, {"binary": "eA=="}],
                "request_headers_to_add": [{"header": {"key": "x", "value": "1"}}],
                "request_headers_to_remove": ["User-Agent"],
            }
        ).check
        assert found == model.HttpCheck(
            path="/ready",
            host="h",
            method="HEAD",
            http2=True,
            expected_statuses=((200, 300),),
            retriable_statuses=((503, 504),),
            headers_to_add=(model.HeaderValueOption("x", "1"),),
            headers_to_remove=("user-agent",),
            receive=(b"ok", b"x"),
        )

    def test_headers_of_probes_have_no_request_to_speak_of(self) -> None:
        def added(value: str) -> tuple[model.HeaderValueOption, ...]:
            option = {"header": {"key": "x", "value": value}}
            found = check(http_health_check={"path": "/", "request_headers_to_add": [option]})
            assert isinstance(found.check, model.HttpCheck)
            return found.check.headers_to_add

        assert added("100%%") == (model.HeaderValueOption("x", "100%"),)
        with pytest.raises(Rejected, match="PROTOCOL% is not supported"):
            added("%PROTOCOL%")

    def test_tcp_and_grpc(self) -> None:
        tcp = check(tcp_health_check={"send": {"text": "00ff"}, "receive": [{"text": "01"}]})
        assert tcp.check == model.TcpCheck(b"\x00\xff", (b"\x01",))
        grpc = check(grpc_health_check={"service_name": "s", "authority": "a"})
        assert grpc.check == model.GrpcCheck("s", "a")

    @pytest.mark.parametrize(
        "fields, where",
        [
            ({}, "health_checks[0]"),
            (
                {"http_health_check": {"path": "/", "send": {"text": "00"}}},
                "health_checks[0].http_health_check.send",
            ),
            (
                {"tcp_health_check": {"send": {"text": "0g"}}},
                "health_checks[0].tcp_health_check.send.text",
            ),
            (
                {"http_health_check": {"path": "/", "codec_client_type": "HTTP3"}},
                "health_checks[0].http_health_check.codec_client_type",
            ),
            (
                {"http_health_check": {"path": "/", "expected_statuses": [{"start": 9, "end": 9}]}},
                "health_checks[0].http_health_check.expected_statuses[0]",
            ),
        ],
    )
    def test_refused(self, fields: dict[str, Any], where: str) -> None:
        with pytest.raises(Rejected) as refused:
            check(**fields)
        assert refused.value.path == where

    def test_an_endpoint_of_its_own(self) -> None:
        endpoint = {
            "address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}},
            "health_check_config": {
                "port_value": 81,
                "hostname": "h",
                "disable_active_health_check": True,
            },
        }
        message = json_format.ParseDict(
            {"cluster_name": "a", "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
            endpoint_pb2.ClusterLoadAssignment(),
        )
        (group,) = load_assignment(checked(message)).localities
        assert group.endpoints[0].check == model.EndpointCheck(81, "h", None, True)
