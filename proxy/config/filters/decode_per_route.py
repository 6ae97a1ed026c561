"""Decodes `typed_per_filter_config`: what a route says to a filter, by the filter's name.

A filter whose message has no decoder here is refused, unless the configuration calls it optional.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.route.v3 import route_components_pb2
from google.protobuf import any_pb2

from protos.frozen import frozen
from proxy.config.decode_common import PREFIX, parse, unsupported_type
from proxy.config.filters import PER_ROUTE
from proxy.config.rejected import Rejected

_WRAPPER = PREFIX + route_components_pb2.FilterConfig.DESCRIPTOR.full_name


@frozen
class Disabled:
    """The filter is left out here (`FilterConfig.disabled`)."""


@frozen
class Enabled:
    """A filter that is disabled in the chain is put in here; it has no configuration of its own
    for this route."""


def filter_configs(messages: Mapping[str, any_pb2.Any], path: str) -> Mapping[str, object]:
    """By the filter's name, in the order of names."""
    found: dict[str, object] = {}
    for name in sorted(messages):
        config = _config(messages[name], f"{path}[{name}]")
        if config is not None:
            found[name] = config
    return found


def _config(packed: any_pb2.Any, path: str) -> object | None:
    if packed.type_url != _WRAPPER:
        return _plain(packed, path)
    message = parse(route_components_pb2.FilterConfig, packed.value, path)
    if message.disabled:
        return Disabled()
    if not message.HasField("config"):
        raise Rejected(path, "says nothing: neither `config` nor `disabled`")
    if not message.config.type_url:
        return Enabled()
    if message.config.type_url not in PER_ROUTE and message.is_optional:
        return None
    return _plain(message.config, f"{path}.config")


def _plain(packed: any_pb2.Any, path: str) -> object:
    decode = PER_ROUTE.get(packed.type_url)
    if decode is None:
        raise unsupported_type(packed, path, (url.rpartition("/")[2] for url in PER_ROUTE))
    return decode(packed.value, path)
