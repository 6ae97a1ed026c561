"""Operators whose values may be objects: metadata of many kinds, filter state.

In text an object is its JSON; in a JSON line it stays one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from proxy.http.format_string import Operator

if TYPE_CHECKING:
    from proxy.l7.logged import Logged

Read = Callable[["Logged"], Any]
"""A string, number, boolean, object or list; None is missing."""


class Encoded(str):
    """Text that is JSON already. text: how it stands in a line of text, if otherwise."""

    text: str | None = None


def as_text(value: Any) -> str:
    """As it stands in a line of text."""
    if isinstance(value, Encoded):
        return value if value.text is None else value.text
    if isinstance(value, str):
        return value
    return compact(value)


def compact(value: Any) -> str:
    """JSON, with whole numbers as such."""
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def structured(operator: Operator) -> Read:
    """The reader of one of `STRUCTURED`."""
    return STRUCTURED[operator.name](operator)


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree


def _dynamic(operator: Operator) -> Read:
    path = tuple(operator.arg.split(":"))
    return lambda stream: _at(stream.metadata, path)


def _cluster(operator: Operator) -> Read:
    path = tuple(operator.arg.split(":"))
    return lambda stream: _of_cluster(stream, path)


def _of_cluster(stream: Logged, path: tuple[str, ...]) -> Any:
    return None if stream.cluster is None else _at(stream.cluster.config.metadata, path)


def _of_host(stream: Logged, path: tuple[str, ...]) -> Any:
    return None if stream.host is None else _at(stream.host.metadata, path)


def _of_route(stream: Logged, path: tuple[str, ...]) -> Any:
    return None if stream.route is None else _at(stream.route.metadata, path)


def _host(operator: Operator) -> Read:
    path = tuple(operator.arg.split(":"))
    return lambda stream: _of_host(stream, path)


_SOURCES: Mapping[str, Callable[[Logged, tuple[str, ...]], Any]] = {
    "CLUSTER": _of_cluster,
    "ROUTE": _of_route,
    "UPSTREAM_HOST": _of_host,
    "DYNAMIC": lambda stream, path: _at(stream.metadata, path),
}


def _metadata(operator: Operator) -> Read:
    """`(SOURCE:namespace:key)`."""
    source, *path = operator.arg.split(":")
    of, where = _SOURCES[source], tuple(path)
    return lambda stream: of(stream, where)


def _filter_state(operator: Operator) -> Read:
    """`(key:PLAIN)` is the object as text, `(key:TYPED)` as what it is, `(key:FIELD:name)` one of
    its fields."""
    key, _, how = operator.arg.partition(":")
    if how == "PLAIN":
        return lambda stream: None if (v := stream.filter_state.get(key)) is None else str(v)
    if how.startswith("FIELD:"):
        name = how.removeprefix("FIELD:")
        return lambda stream: _at(_typed(stream.filter_state.get(key)), (name,))
    return lambda stream: _as_json(stream.filter_state.get(key))


def _typed(value: Any) -> Any:
    to_json = getattr(value, "as_json", None)
    return value if to_json is None else to_json()


def _as_json(value: Any) -> Any:
    """A string is quoted in text, too: it is JSON. The fields of an object are spelled there as
    protobuf's JSON has them."""
    typed = _typed(value)
    if typed is None:
        return None
    found = Encoded(compact(typed))
    if isinstance(typed, Mapping):
        found.text = compact({_camel(name): each for name, each in typed.items()})
    return found


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join([word.capitalize() for word in rest])


STRUCTURED: Mapping[str, Callable[[Operator], Read]] = {
    "CLUSTER_METADATA": _cluster,
    "DYNAMIC_METADATA": _dynamic,
    "FILTER_STATE": _filter_state,
    "METADATA": _metadata,
    "UPSTREAM_METADATA": _host,
}
