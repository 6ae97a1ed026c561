"""What is made of the proxy's own answers (`LocalReplyConfig`)."""

from __future__ import annotations

from protos.frozen import frozen
from proxy.config.model.common import BodyFormat, HeaderValueOption
from proxy.config.model.log_filter import AccessLogFilter


@frozen
class ResponseMapper:
    """None: it stays as it is. body_format: goes before that of the whole configuration."""

    filter: AccessLogFilter
    status: int | None = None
    body: bytes | None = None
    body_format: BodyFormat | None = None
    headers_to_add: tuple[HeaderValueOption, ...] = ()


@frozen
class LocalReplyConfig:
    """The first mapper whose filter takes the answer changes it."""

    mappers: tuple[ResponseMapper, ...] = ()
    body_format: BodyFormat | None = None
