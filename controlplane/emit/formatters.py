"""Formatters that texts need beside them: operators which Envoy has as extensions."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.formatter.req_without_query.v3.req_without_query_pb2 import ReqWithoutQuery

from controlplane.emit.words import packed


def formatters(texts: Iterable[str]) -> list[TypedExtensionConfig]:
    """Those that bring an operator of these texts, which Envoy refuses without them."""
    if not any("%REQ_WITHOUT_QUERY" in text for text in texts):
        return []
    brings = packed(ReqWithoutQuery())
    return [TypedExtensionConfig(name="envoy.formatter.req_without_query", typed_config=brings)]
