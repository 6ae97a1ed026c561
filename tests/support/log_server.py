"""A server of Envoy's AccessLogService, and of OTLP's logs: it keeps what it is told, in order.

It has a port of 127.0.0.1; what was told is there as plain dictionaries, names as in the .proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from typing import Any, Self

import grpc
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

Message = dict[str, Any]
_MESSAGE = als_pb2.StreamAccessLogsMessage
_EXPORT = logs_service_pb2.ExportLogsServiceRequest
MOST_STREAMS = 64
"""At a time."""
NAME = "log_name"


class LogServer:
    """`with LogServer() as server:` listens. streams: the messages of each. heads: of each stream,
    as it began."""

    def __init__(self) -> None:
        self.streams: list[list[Message]] = []
        self.exported: list[Message] = []
        self.heads: list[dict[str, str]] = []
        self._grpc = grpc.server(futures.ThreadPoolExecutor(MOST_STREAMS))
        handler = grpc.stream_unary_rpc_method_handler(self._take, _MESSAGE.FromString)
        service = "envoy.service.accesslog.v3.AccessLogService"
        handlers = grpc.method_handlers_generic_handler(service, {"StreamAccessLogs": handler})
        export = grpc.unary_unary_rpc_method_handler(self._export, _EXPORT.FromString)
        service = "opentelemetry.proto.collector.logs.v1.LogsService"
        over_otlp = grpc.method_handlers_generic_handler(service, {"Export": export})
        self._grpc.add_generic_rpc_handlers((handlers, over_otlp))
        self.port = self._grpc.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Self:
        self._grpc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._grpc.stop(None).wait()

    def entries(self) -> list[Message]:
        """All that was told, each with `kind` (`http`, `tcp` or `otel`) and the name of its log."""
        found: list[Message] = []
        for messages in list(self.streams):
            name = messages[0]["identifier"].get("log_name", "") if messages else ""
            for message in list(messages):
                for kind in ("http", "tcp"):
                    told = message.get(f"{kind}_logs", {}).get("log_entry", ())
                    found += [{"kind": kind, "log": name, **entry} for entry in told]
        return found + list(self.exported)

    def _export(
        self, request: logs_service_pb2.ExportLogsServiceRequest, _: grpc.ServicerContext
    ) -> bytes:
        for told in MessageToDict(request, preserving_proto_field_name=True)["resource_logs"]:
            who = told["resource"]["attributes"]
            name = next((one["value"]["string_value"] for one in who if one["key"] == NAME), "")
            for scope in told["instrumentation_library_logs"]:
                for record in scope["logs"]:
                    self.exported.append({"kind": "otel", "log": name, "who": who, **record})
        return b""

    def _take(
        self, requests: Iterator[als_pb2.StreamAccessLogsMessage], context: grpc.ServicerContext
    ) -> bytes:
        self.heads.append({str(k): str(v) for k, v in context.invocation_metadata()})
        told: list[Message] = []
        self.streams.append(told)
        try:
            told.extend(MessageToDict(each, preserving_proto_field_name=True) for each in requests)
        except grpc.RpcError:
            pass  # the proxy has gone
        return b""
