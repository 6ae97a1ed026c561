"""Decodes `Http1ProtocolOptions`, of connection managers and of clusters."""

from __future__ import annotations

from envoy.config.core.v3 import protocol_pb2
from envoy.extensions.http.header_formatters.preserve_case.v3 import preserve_case_pb2

from proxy.config.decode_common import PREFIX, unpack, unsupported_type
from proxy.config.model import Http1Options

_PRESERVE = preserve_case_pb2.PreserveCaseFormatterConfig
_KNOWN = _PRESERVE.DESCRIPTOR.full_name


def http1_options(message: protocol_pb2.Http1ProtocolOptions, path: str) -> Http1Options:
    """Names are spelled as they came unless `proper_case_words` asks otherwise, so that
    `preserve_case` has nothing to add."""
    form = message.header_key_format
    if form.HasField("stateful_formatter"):
        where = f"{path}.header_key_format.stateful_formatter.typed_config"
        packed = form.stateful_formatter.typed_config
        if packed.type_url != PREFIX + _KNOWN:
            raise unsupported_type(packed, where, [_KNOWN])
        unpack(_PRESERVE, packed, where)
    return Http1Options(
        enable_trailers=message.enable_trailers,
        chunked_length=message.allow_chunked_length,
        custom_methods=message.allow_custom_methods,
        proper_case=form.HasField("proper_case_words"),
    )
