"""Decodes `envoy.filters.http.header_mutation`, with its mutations per route."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2

from protos.frozen import frozen
from proxy.config.decode_common import (
    APPEND_ACTIONS,
    PREFIX,
    choice,
    format_string,
    header_option,
    parse,
)
from proxy.config.decode_matchers import string_matcher
from proxy.config.model import AppendAction, HeaderValueOption, StringMatcher
from proxy.config.rejected import Rejected

TYPE_URL = PREFIX + header_mutation_pb2.HeaderMutation.DESCRIPTOR.full_name
PER_ROUTE_TYPE_URL = PREFIX + header_mutation_pb2.HeaderMutationPerRoute.DESCRIPTOR.full_name


@frozen
class HeaderMutation:
    """One of: remove this name, add this option, remove every name that matches."""

    remove: str = ""
    append: HeaderValueOption | None = None
    remove_matching: StringMatcher | None = None


@frozen
class QueryMutation:
    """Of the parameter `key`. value None: remove it; else a format string."""

    key: str
    value: str | None = None
    action: AppendAction = "APPEND_IF_EXISTS_OR_ADD"


@frozen
class Mutations:
    request: tuple[HeaderMutation, ...] = ()
    response: tuple[HeaderMutation, ...] = ()
    request_trailers: tuple[HeaderMutation, ...] = ()
    response_trailers: tuple[HeaderMutation, ...] = ()
    query: tuple[QueryMutation, ...] = ()


@frozen
class HeaderMutationConfig:
    mutations: Mutations = Mutations()
    most_specific_wins: bool = False


def decode(value: bytes, path: str) -> HeaderMutationConfig:
    message = parse(header_mutation_pb2.HeaderMutation, value, path)
    mutations = _mutations(message.mutations, f"{path}.mutations")
    return HeaderMutationConfig(mutations, message.most_specific_header_mutations_wins)


def decode_per_route(value: bytes, path: str) -> Mutations:
    message = parse(header_mutation_pb2.HeaderMutationPerRoute, value, path)
    return _mutations(message.mutations, f"{path}.mutations")


def _mutations(message: header_mutation_pb2.Mutations, path: str) -> Mutations:
    return Mutations(
        _headers(message.request_mutations, f"{path}.request_mutations"),
        _headers(message.response_mutations, f"{path}.response_mutations"),
        _headers(message.request_trailers_mutations, f"{path}.request_trailers_mutations"),
        _headers(message.response_trailers_mutations, f"{path}.response_trailers_mutations"),
        tuple(
            _query(each, f"{path}.query_parameter_mutations[{i}]")
            for i, each in enumerate(message.query_parameter_mutations)
        ),
    )


def _headers(
    messages: Iterable[mutation_rules_pb2.HeaderMutation], path: str
) -> tuple[HeaderMutation, ...]:
    return tuple(_header(each, f"{path}[{i}]") for i, each in enumerate(messages))


def _header(message: mutation_rules_pb2.HeaderMutation, path: str) -> HeaderMutation:
    kind = message.WhichOneof("action")
    if kind == "remove":
        if message.remove.startswith(":"):
            raise Rejected(f"{path}.remove", "a request without a pseudo-header is none")
        return HeaderMutation(remove=message.remove.lower())
    if kind == "append":
        return HeaderMutation(append=header_option(message.append, f"{path}.append"))
    where = f"{path}.remove_on_match.key_matcher"
    matcher = string_matcher(message.remove_on_match.key_matcher, where)
    return HeaderMutation(remove_matching=matcher)


def _query(message: base_pb2.KeyValueMutation, path: str) -> QueryMutation:
    """Envoy's rules: an append has a record with a string in it."""
    if not message.HasField("append"):
        if not message.remove:
            raise Rejected(path, "No mutation specified.")
        return QueryMutation(message.remove)
    record = message.append.record
    if not message.append.HasField("record"):
        raise Rejected(f"{path}.append", "No record specified for mutation")
    if record.value.WhichOneof("kind") != "string_value":
        raise Rejected(f"{path}.append.record.value", "Only string value is allowed")
    value = format_string(record.value.string_value, f"{path}.append.record.value")
    action = choice(APPEND_ACTIONS, message.append.action, f"{path}.append.action")
    return QueryMutation(record.key, value, action)
