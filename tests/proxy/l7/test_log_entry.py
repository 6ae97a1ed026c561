"""Entries of access logs over gRPC, read by the real library; test_grpc_logs has Envoy's word."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.data.accesslog.v3 import accesslog_pb2
from google.protobuf import json_format, wrappers_pb2

from proxy.config.model import SocketAddress
from proxy.config.model.grpc_logs import GrpcLog, LogService
from proxy.config.model.services import GrpcService
from proxy.http.message import Response
from proxy.l4.record import Chain, ConnectionRecord, Downstream
from proxy.l7.facts import FLAG_NAMES
from proxy.l7.log_entry import HttpEntry, TcpEntry
from proxy.upstream.host import Host
from tests.support.streams import LoggedStream, connection, headers, request

SERVICE = LogService("http", "log", GrpcService("logs"), filter_states=("text", "object", "none"))
TRAILERS = ("x-t", "x-absent")


def entry(**fields: Any) -> accesslog_pb2.HTTPAccessLogEntry:
    made = HttpEntry(GrpcLog(SERVICE, response_trailers=TRAILERS))(LoggedStream(**fields))
    return accesslog_pb2.HTTPAccessLogEntry.FromString(made)


@pytest.mark.parametrize("flag", sorted(set(FLAG_NAMES) - {"DO", "UDO", "UAEX"}))
def test_each_flag_has_a_field(flag: str) -> None:
    flags = entry(flags=flag).common_properties.response_flags
    assert len(flags.ListFields()) == 1


def test_the_flag_of_an_authorization_has_a_reason() -> None:
    flags = entry(flags="UAEX,DC").common_properties.response_flags
    assert flags.unauthorized_details.reason == flags.Unauthorized.EXTERNAL_SERVICE
    assert flags.downstream_connection_termination


@pytest.mark.parametrize("name", base_pb2.RequestMethod.keys()[1:])
def test_each_method_has_its_number(name: str) -> None:
    told = entry(request=request(method=name)).request.request_method
    assert base_pb2.RequestMethod.Name(told) == name


@pytest.mark.parametrize("name", accesslog_pb2.AccessLogType.keys()[:11])
def test_each_kind_of_entry_has_its_number(name: str) -> None:
    told = entry(log_type=name).common_properties.access_log_type
    assert accesslog_pb2.AccessLogType.Name(told) == name


def test_times() -> None:
    common = entry(ended=102.5, answered_at=100.75).common_properties
    assert common.duration.ToMilliseconds() == 2500
    assert common.time_to_first_upstream_rx_byte.ToMilliseconds() == 750
    assert not common.intermediate_log_entry
    assert entry(ended=0.0).common_properties.intermediate_log_entry


def test_trailers() -> None:
    trailers = headers([("x-t", "1"), ("x-other", "2"), ("x-t", "3")])
    told = entry(response=Response(200, headers([])), response_trailers=trailers).response
    assert dict(told.response_trailers) == {"x-t": "1,3"}


def test_metadata_and_filter_state() -> None:
    values = {"s": "t", "big": 2.0**53, "less": -0.5, "deep": {"l": [None, True, {"a": "ü"}]}}
    state = {"text": "ü" * 200, "object": {"k": 1}, "none": object()}
    common = entry(metadata={"m": values}, filter_state=state).common_properties
    assert json_format.MessageToDict(common.metadata.filter_metadata["m"]) == values
    assert sorted(common.filter_state_objects) == ["object", "text"]
    text = wrappers_pb2.StringValue()
    assert common.filter_state_objects["text"].Unpack(text)
    assert text.value == "ü" * 200


def test_a_host_at_a_path() -> None:
    told = entry(host=Host(SocketAddress("", 0, path="/run/app.sock"))).common_properties
    assert told.upstream_remote_address.pipe.path == "/run/app.sock"


def test_tls_is_worked_out_once_for_a_connection() -> None:
    info = connection(sni="shop.test")
    info.tls, info.tls_version, info.cipher = True, "TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256"
    down = SimpleNamespace(info=info)
    first = entry(down=down).common_properties.tls_properties
    assert (first.tls_version, first.tls_cipher_suite.value) == (first.TLSv1_2, 0xC02F)
    assert first.tls_sni_hostname == "shop.test"
    info.cipher = "another"
    assert entry(down=down).common_properties.tls_properties == first


def test_lines_of_one_connection_have_one_id() -> None:
    record = ConnectionRecord(Downstream(connection()), Chain(), 1.0, bytes_received=3)
    make = TcpEntry(SERVICE)
    told = [accesslog_pb2.TCPAccessLogEntry.FromString(make(record)) for _ in range(2)]
    assert told[0].connection_properties.received_bytes == 3
    assert told[0].common_properties.stream_id == told[1].common_properties.stream_id != ""
