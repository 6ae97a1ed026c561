"""Decodes how a route rewrites path and host."""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.path.rewrite.uri_template.v3 import uri_template_rewrite_pb2
from envoy.type.matcher.v3 import regex_pb2

from proxy.config.decode_common import regex, unpack
from proxy.config.model import RegexRewrite
from proxy.config.rejected import Rejected


def regex_rewrite(message: regex_pb2.RegexMatchAndSubstitute, path: str) -> RegexRewrite:
    """A substitution that names a group which is not there replaces nothing, as in RE2."""
    return RegexRewrite(regex(message.pattern.regex, f"{path}.pattern"), message.substitution)


def one_rewrite(message: route_components_pb2.RouteAction, path: str) -> None:
    """Envoy: at most one kind of path rewrite."""
    kinds = [
        name
        for name, given in (
            ("prefix_rewrite", bool(message.prefix_rewrite)),
            ("regex_rewrite", message.HasField("regex_rewrite")),
            ("path_rewrite_policy", message.HasField("path_rewrite_policy")),
        )
        if given
    ]
    if len(kinds) > 1:
        raise Rejected(path, f"{' and '.join(kinds)} are both set")


def path_template_rewrite(message: route_components_pb2.RouteAction, path: str) -> str | None:
    """Whether it is a rewrite of the match's template is looked at by the route."""
    if not message.HasField("path_rewrite_policy"):
        return None
    packed = message.path_rewrite_policy.typed_config
    where = f"{path}.path_rewrite_policy.typed_config"
    rewrite = unpack(uri_template_rewrite_pb2.UriTemplateRewriteConfig, packed, where)
    return rewrite.path_template_rewrite
