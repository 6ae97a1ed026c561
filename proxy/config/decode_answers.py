"""Decodes routes that answer by themselves: redirects and direct responses."""

from __future__ import annotations

from envoy.config.core.v3 import substitution_format_string_pb2
from envoy.config.route.v3 import route_components_pb2

from proxy.config.decode_common import choice, data_source
from proxy.config.decode_format import body_format
from proxy.config.decode_rewrite import regex_rewrite
from proxy.config.model import BodyFormat, DirectResponse, RedirectAction
from proxy.config.rejected import Rejected

_REDIRECT_STATUS = {0: 301, 1: 302, 2: 303, 3: 307, 4: 308}


def redirect(message: route_components_pb2.RedirectAction, path: str) -> RedirectAction:
    """`message` must be checked."""
    scheme = message.WhichOneof("scheme_rewrite_specifier")
    rewrite = message.WhichOneof("path_rewrite_specifier")
    return RedirectAction(
        https=scheme == "https_redirect" and message.https_redirect,
        scheme=message.scheme_redirect if scheme == "scheme_redirect" else None,
        host=message.host_redirect or None,
        port=message.port_redirect or None,
        path=message.path_redirect if rewrite == "path_redirect" else None,
        prefix_rewrite=message.prefix_rewrite if rewrite == "prefix_rewrite" else None,
        regex_rewrite=regex_rewrite(message.regex_rewrite, f"{path}.regex_rewrite")
        if rewrite == "regex_rewrite"
        else None,
        status=choice(_REDIRECT_STATUS, message.response_code, f"{path}.response_code"),
        strip_query=message.strip_query,
    )


def direct_response(
    message: route_components_pb2.DirectResponseAction, path: str, max_body_bytes: int
) -> DirectResponse:
    """`message` must be checked; a body above `max_body_bytes` is refused."""
    body = b""
    if message.HasField("body"):
        body = data_source(message.body, f"{path}.body").data
    if len(body) > max_body_bytes:
        why = f"has {len(body)} bytes; max_direct_response_body_size_bytes is {max_body_bytes}"
        raise Rejected(f"{path}.body", why)
    style = message.body_format if message.HasField("body_format") else None
    return DirectResponse(message.status, body, _format(style, f"{path}.body_format"))


def _format(
    message: substitution_format_string_pb2.SubstitutionFormatString | None, path: str
) -> BodyFormat | None:
    return None if message is None else body_format(message, path)
