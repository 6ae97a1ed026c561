"""Decodes the formatters of a format string: extensions that bring operators of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from envoy.config.core.v3 import extension_pb2
from envoy.extensions.formatter.metadata.v3 import metadata_pb2
from envoy.extensions.formatter.req_without_query.v3 import req_without_query_pb2

from proxy.config.decode_common import type_name, unpack, unsupported_type

_BROUGHT: Mapping[str, tuple[Any, frozenset[str]]] = {
    kind.DESCRIPTOR.full_name: (kind, brings)
    for kind, brings in (
        (metadata_pb2.Metadata, frozenset[str]()),  # METADATA is there without it, too
        (req_without_query_pb2.ReqWithoutQuery, frozenset({"REQ_WITHOUT_QUERY"})),
    )
}


def formatters(messages: Iterable[extension_pb2.TypedExtensionConfig], path: str) -> frozenset[str]:
    """The operators that may be used because of them."""
    brought: frozenset[str] = frozenset()
    for i, each in enumerate(messages):
        where = f"{path}[{i}].typed_config"
        known = _BROUGHT.get(type_name(each.typed_config))
        if known is None:
            raise unsupported_type(each.typed_config, where, _BROUGHT)
        unpack(known[0], each.typed_config, where)
        brought |= known[1]
    return brought
