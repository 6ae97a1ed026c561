"""Protocol options of clusters and connection managers: Envoy's words into our model."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import protocol_pb2
from google.protobuf import json_format

from proxy.config.decode_cds import cluster
from proxy.config.decode_common import checked
from proxy.config.decode_http2 import http2_options
from proxy.config.model import (
    Http2Options,
    HttpProtocolOptions,
    KeepaliveSettings,
    PreconnectPolicy,
)
from proxy.config.rejected import Rejected

NAME = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
TLS = {
    "name": "tls",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    },
}


def options(**fields: Any) -> dict[str, Any]:
    """A cluster's `HttpProtocolOptions`."""
    return {
        "typed_extension_protocol_options": {
            NAME: {"@type": f"type.googleapis.com/{NAME}", **fields}
        }
    }


def decode(**fields: Any) -> HttpProtocolOptions:
    message = json_format.ParseDict(
        {"name": "a", "type": "STATIC", **fields}, cluster_pb2.Cluster()
    )
    return cluster(checked(message)).http


def http2(**fields: Any) -> Http2Options:
    message = json_format.ParseDict(fields, protocol_pb2.Http2ProtocolOptions())
    return http2_options(checked(message), "http2")


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ({}, "HTTP1"),
        ({"http2_protocol_options": {}}, "HTTP2"),
        ({"http2_protocol_options": {}, "protocol_selection": 1}, "DOWNSTREAM"),
        (options(explicit_http_config={"http_protocol_options": {}}), "HTTP1"),
        (options(explicit_http_config={"http2_protocol_options": {}}), "HTTP2"),
        (options(use_downstream_protocol_config={}), "DOWNSTREAM"),
        ({**options(auto_config={}), "transport_socket": TLS}, "AUTO"),
        (
            {
                **options(explicit_http_config={"http_protocol_options": {}}),
                "http2_protocol_options": {},
            },
            "HTTP1",
        ),
    ],
)
def test_which_version(fields: dict[str, Any], version: str) -> None:
    assert decode(**fields).version == version


def test_alpn_needs_tls() -> None:
    with pytest.raises(Rejected, match=r"auto_config: needs a TLS transport socket"):
        decode(**options(auto_config={}))


def test_http3_is_refused_by_its_path() -> None:
    with pytest.raises(Rejected, match=r"explicit_http_config\.http3_protocol_options"):
        decode(**options(explicit_http_config={"http3_protocol_options": {}}))


def test_the_options_of_each_version_are_found() -> None:
    inner = {"http2_protocol_options": {"max_concurrent_streams": 7}}
    wanted = Http2Options(max_concurrent_streams=7)
    assert decode(**inner).http2 == wanted
    assert decode(**options(explicit_http_config=inner)).http2 == wanted
    assert decode(**options(use_downstream_protocol_config=inner)).http2 == wanted
    assert decode(**options(auto_config=inner), transport_socket=TLS).http2 == wanted


def test_tls_by_the_host_of_the_request() -> None:
    found = decode(
        **options(
            explicit_http_config={"http_protocol_options": {}},
            upstream_http_protocol_options={
                "auto_sni": True,
                "auto_san_validation": True,
                "override_auto_sni_header": "X-Host",
            },
        )
    )
    assert (found.auto_sni, found.auto_san_validation) == (True, True)
    assert found.auto_sni_header == "x-host"
    assert decode(upstream_http_protocol_options={"auto_sni": True}).auto_sni


def test_http2_defaults_are_those_of_envoy_1_40_but_for_the_window_of_a_stream() -> None:
    found = http2()
    assert found == Http2Options()
    assert found.initial_stream_window_size == 2 << 20
    assert found.initial_connection_window_size == 24 << 20
    assert (found.max_concurrent_streams, found.hpack_table_size) == (1024, 4096)


def test_every_number_of_http2_lands_in_its_field() -> None:
    numbers = {
        "hpack_table_size": 1,
        "max_concurrent_streams": 2,
        "initial_stream_window_size": 65536,
        "initial_connection_window_size": 65537,
        "max_outbound_frames": 5,
        "max_outbound_control_frames": 6,
        "max_consecutive_inbound_frames_with_empty_payload": 0,
        "max_inbound_priority_frames_per_stream": 8,
        "max_inbound_window_update_frames_per_data_frame_sent": 9,
    }
    found = http2(**numbers)
    assert {name: getattr(found, name) for name in numbers} == numbers


def test_keepalive() -> None:
    found = http2(
        connection_keepalive={
            "interval": "30s",
            "timeout": "5s",
            "interval_jitter": {"value": 10},
            "connection_idle_interval": "60s",
        }
    )
    assert found.keepalive == KeepaliveSettings(5.0, 30.0, 10.0, 60.0)
    bare = http2(connection_keepalive={"timeout": "1s"}).keepalive
    assert bare == KeepaliveSettings(1.0, None, 15.0, None)


def test_custom_settings_with_a_field_of_their_own_go_there() -> None:
    found = http2(
        custom_settings_parameters=[
            {"identifier": 3, "value": 6},
            {"identifier": 99, "value": 1},
        ]
    )
    assert found.max_concurrent_streams == 6
    assert found.custom_settings == ((99, 1),)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"custom_settings_parameters": [{"identifier": 2, "value": 1}]}, "server push"),
        ({"custom_settings_parameters": [{"identifier": 8, "value": 1}]}, "allow_connect"),
        (
            {
                "max_concurrent_streams": 5,
                "custom_settings_parameters": [{"identifier": 3, "value": 6}],
            },
            "max_concurrent_streams is set too",
        ),
        (
            {
                "custom_settings_parameters": [
                    {"identifier": 9, "value": 1},
                    {"identifier": 9, "value": 2},
                ]
            },
            "set twice",
        ),
        ({"custom_settings_parameters": [{"identifier": 5, "value": 65536}]}, "not supported"),
        ({"initial_stream_window_size": 65534}, "initial_stream_window_size"),
        ({"connection_keepalive": {"interval": "1s"}}, "timeout"),
        ({"allow_metadata": True}, "allow_metadata"),
    ],
)
def test_what_envoy_refuses_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(Rejected, match=why):
        http2(**fields)


def test_whether_a_bad_message_ends_its_stream_only() -> None:
    """The override wins, then the connection manager's word, then the deprecated field."""
    old = protocol_pb2.Http2ProtocolOptions(stream_error_on_invalid_http_messaging=True)
    assert http2_options(old, "").stream_error
    assert not http2_options(old, "", stream_error=False).stream_error
    old.override_stream_error_on_invalid_http_message.value = True
    assert http2_options(old, "", stream_error=False).stream_error


def test_preconnect() -> None:
    message = json_format.ParseDict(
        {
            "name": "a",
            "type": "STATIC",
            "preconnect_policy": {
                "per_upstream_preconnect_ratio": 1.5,
                "predictive_preconnect_ratio": 2,
            },
        },
        cluster_pb2.Cluster(),
    )
    assert cluster(checked(message)).preconnect == PreconnectPolicy(1.5, 2.0)
    message.preconnect_policy.per_upstream_preconnect_ratio.value = 3.5
    with pytest.raises(Rejected, match="per_upstream_preconnect_ratio"):
        checked(message)
