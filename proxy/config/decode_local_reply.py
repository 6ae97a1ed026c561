"""Decodes `LocalReplyConfig`."""

from __future__ import annotations

from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)

from proxy.config.decode_common import data_source, headers_to_add, value_or
from proxy.config.decode_format import body_format
from proxy.config.decode_log_filter import log_filter
from proxy.config.model.local_reply import LocalReplyConfig, ResponseMapper


def local_reply_config(message: hcm_pb2.LocalReplyConfig, path: str) -> LocalReplyConfig:
    """`message` must be checked."""
    return LocalReplyConfig(
        tuple(_mapper(each, f"{path}.mappers[{i}]") for i, each in enumerate(message.mappers)),
        body_format(message.body_format, f"{path}.body_format")
        if message.HasField("body_format")
        else None,
    )


def _mapper(message: hcm_pb2.ResponseMapper, path: str) -> ResponseMapper:
    where = f"{path}.body_format_override"
    return ResponseMapper(
        filter=log_filter(message.filter, f"{path}.filter"),
        status=value_or(message, "status_code", None),
        body=data_source(message.body, f"{path}.body").data if message.HasField("body") else None,
        body_format=body_format(message.body_format_override, where)
        if message.HasField("body_format_override")
        else None,
        headers_to_add=headers_to_add(message.headers_to_add, f"{path}.headers_to_add"),
    )
