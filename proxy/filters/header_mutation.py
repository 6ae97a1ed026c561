"""`envoy.filters.http.header_mutation`: headers, trailers and query parameters, changed by rule.

The filter's own mutations come first, then the route's levels: the least specific one has the last
word, unless `most_specific_header_mutations_wins`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import quote_from_bytes, unquote_to_bytes

from proxy.config.filters.decode_header_mutation import (
    TYPE_URL,
    HeaderMutationConfig,
    Mutations,
    QueryMutation,
)
from proxy.filters.api import Filter, FilterContext, FilterStream, Hooks
from proxy.filters.mutations import Format, Mutate, mutator
from proxy.http.headers import Headers
from proxy.http.message import Response

Query = dict[bytes, list[bytes]]
Change = Callable[[FilterStream, Query], None]

__all__ = ["TYPE_URL", "build"]


def build(config: HeaderMutationConfig, context: FilterContext) -> Filter:
    return HeaderMutationFilter(config, context)


class HeaderMutationFilter:
    def __init__(self, config: HeaderMutationConfig, context: FilterContext) -> None:
        self._config = config
        self._format: Format = context.format

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        levels = [each for each in overrides if isinstance(each, Mutations)]
        if self._config.most_specific_wins:
            levels.reverse()
        levels.insert(0, self._config.mutations)
        together = Mutations(
            tuple(one for each in levels for one in each.request),
            tuple(one for each in levels for one in each.response),
            tuple(one for each in levels for one in each.request_trailers),
            tuple(one for each in levels for one in each.response_trailers),
            tuple(one for each in levels for one in each.query),
        )
        return self._hooks(together) if together != Mutations() else None

    def _hooks(self, mutations: Mutations) -> Hooks:
        formats = self._format
        return Hooks(
            on_request=_on_request(
                mutator(mutations.request, formats), _query(mutations.query, formats)
            ),
            on_response=_on_response(mutator(mutations.response, formats)),
            on_request_end=_on_end(mutator(mutations.request_trailers, formats)),
            on_response_end=_on_end(mutator(mutations.response_trailers, formats)),
        )


def _on_request(
    mutate: Mutate | None, query: Callable[[FilterStream], None] | None
) -> Callable[[FilterStream], None] | None:
    if mutate is None and query is None:
        return None

    def on_request(stream: FilterStream) -> None:
        request = stream.request
        if mutate is not None:
            mutate(stream, request.headers, request)
        if query is not None:
            query(stream)

    return on_request


def _on_response(mutate: Mutate | None) -> Callable[[FilterStream, Response], None] | None:
    if mutate is None:
        return None
    return lambda stream, response: mutate(stream, response.headers, response)


def _on_end(mutate: Mutate | None) -> Callable[[FilterStream, Headers | None], None] | None:
    """Only trailers that are there are changed."""
    if mutate is None:
        return None

    def on_end(stream: FilterStream, trailers: Headers | None) -> None:
        if trailers is not None:
            mutate(stream, trailers, None)

    return on_end


# ---------------------------------------------------------------------------- query parameters


def _query(
    mutations: Sequence[QueryMutation], formats: Format
) -> Callable[[FilterStream], None] | None:
    if not mutations:
        return None
    changes = [_change(each, formats) for each in mutations]

    def apply(stream: FilterStream) -> None:
        """Parameters come in the order of their names (Envoy); those that nobody touches as the
        client spelled them."""
        path, _, query = stream.request.path.partition(b"?")
        parameters = _parsed(query)
        for change in changes:
            change(stream, parameters)
        pairs = [
            quote_from_bytes(name, safe="").encode() + b"=" + value
            for name in sorted(parameters)
            for value in parameters[name]
        ]
        stream.request.path = path + b"?" + b"&".join(pairs) if pairs else path

    return apply


def _parsed(query: bytes) -> Query:
    found: Query = {}
    for pair in query.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            found.setdefault(unquote_to_bytes(name), []).append(value)
    return found


def _drop(parameters: Query, key: bytes) -> None:
    parameters.pop(key, None)


def _change(mutation: QueryMutation, formats: Format) -> Change:
    key, action = mutation.key.encode(), mutation.action
    if mutation.value is None:
        return lambda _, parameters: _drop(parameters, key)
    value_of = formats(mutation.value)

    def change(stream: FilterStream, parameters: Query) -> None:
        value = quote_from_bytes(value_of(stream), safe="").encode()
        if action == "APPEND_IF_EXISTS_OR_ADD":
            parameters.setdefault(key, []).append(value)
        elif action == "ADD_IF_ABSENT":
            parameters.setdefault(key, [value])
        elif action == "OVERWRITE_IF_EXISTS_OR_ADD" or key in parameters:
            parameters[key] = [value]

    return change
