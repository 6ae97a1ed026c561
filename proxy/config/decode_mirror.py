"""Decodes `RequestMirrorPolicy`: who gets a copy of a request."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.route.v3 import route_components_pb2

from proxy.config.decode_common import header_option, percent
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import HeaderValueOption, MirrorPolicy
from proxy.config.rejected import Rejected

_Message = route_components_pb2.RouteAction.RequestMirrorPolicy


def mirror_policies(messages: Iterable[_Message], path: str) -> tuple[MirrorPolicy, ...]:
    return tuple(_policy(each, f"{path}[{i}]") for i, each in enumerate(messages))


def _policy(message: _Message, path: str) -> MirrorPolicy:
    if bool(message.cluster) == bool(message.cluster_header):
        raise Rejected(path, "needs one of cluster and cluster_header")
    fraction = message.runtime_fraction if message.HasField("runtime_fraction") else None
    where = f"{path}.runtime_fraction.default_value"
    return MirrorPolicy(
        cluster=message.cluster,
        cluster_header=message.cluster_header.lower(),
        fraction=percent(fraction.default_value, where, fraction.runtime_key) if fraction else None,
        keeps_host=message.disable_shadow_host_suffix_append,
        host_rewrite=message.host_rewrite_literal,
        mutations=tuple(
            _mutation(each, f"{path}.request_headers_mutations[{i}]")
            for i, each in enumerate(message.request_headers_mutations)
        ),
    )


def _mutation(message: mutation_rules_pb2.HeaderMutation, path: str) -> HeaderValueOption | str:
    kind = message.WhichOneof("action")
    if kind == "remove":
        return message.remove.lower()
    if kind == "append":
        return header_option(message.append, f"{path}.append")
    raise Rejected(f"{path}.{kind}", UNSUPPORTED)
