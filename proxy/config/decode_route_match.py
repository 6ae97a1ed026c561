"""Decodes what a route matches: path, headers, query, metadata, the client's certificate.

Stands apart from `decode_route`, since filters match requests by the same message.
"""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.path.match.uri_template.v3 import uri_template_match_pb2

from proxy.config.decode_common import percent, regex, unpack, value_or
from proxy.config.decode_matchers import filter_state_matchers, header_matchers, query_matchers
from proxy.config.decode_metadata import metadata_matcher
from proxy.config.model import FractionalPercent, RouteMatch
from proxy.config.rejected import Rejected
from proxy.http.uri_template import TemplateError, parse_template


def route_match(message: route_components_pb2.RouteMatch, path: str) -> RouteMatch:
    kind = message.WhichOneof("path_specifier")
    tls = message.tls_context if message.HasField("tls_context") else None
    return RouteMatch(
        prefix=message.prefix if kind == "prefix" else None,
        path=message.path if kind == "path" else None,
        regex=regex(message.safe_regex.regex, f"{path}.safe_regex")
        if kind == "safe_regex"
        else None,
        path_separated_prefix=message.path_separated_prefix
        if kind == "path_separated_prefix"
        else None,
        case_sensitive=value_or(message, "case_sensitive", True),
        headers=header_matchers(message.headers, f"{path}.headers"),
        query_parameters=query_matchers(message.query_parameters, f"{path}.query_parameters"),
        runtime_fraction=_runtime_fraction(message, f"{path}.runtime_fraction"),
        grpc=message.HasField("grpc"),
        uri_template=_uri_template(message, path) if kind == "path_match_policy" else None,
        connect=kind == "connect_matcher",
        tls_presented=value_or(tls, "presented", None) if tls else None,
        tls_validated=value_or(tls, "validated", None) if tls else None,
        dynamic_metadata=tuple(
            metadata_matcher(each, f"{path}.dynamic_metadata[{i}]")
            for i, each in enumerate(message.dynamic_metadata)
        ),
        filter_state=filter_state_matchers(message.filter_state, f"{path}.filter_state"),
    )


def _uri_template(message: route_components_pb2.RouteMatch, path: str) -> str:
    where = f"{path}.path_match_policy.typed_config"
    packed = message.path_match_policy.typed_config
    template = unpack(uri_template_match_pb2.UriTemplateMatchConfig, packed, where).path_template
    try:
        parse_template(template)
    except TemplateError as error:
        raise Rejected(f"{where}.path_template", str(error)) from None
    return template


def _runtime_fraction(
    message: route_components_pb2.RouteMatch, path: str
) -> FractionalPercent | None:
    if not message.HasField("runtime_fraction"):
        return None
    fraction = message.runtime_fraction
    return percent(fraction.default_value, f"{path}.default_value", fraction.runtime_key)
