"""Routes found by values of headers (`VirtualHost.matcher`).

What is found is a list of routes, of which the first that matches is taken; a header that is not
there leads to what is otherwise. Several values of a header are one, joined by commas (Envoy).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from proxy import match
from proxy.config.model import Route
from proxy.config.model.routes import HeaderPredicate, RouteTree
from proxy.http.message import Request
from proxy.route.matching import Seen
from proxy.route.table import Find

Target = TypeVar("Target")
Value = Callable[[Request], bytes | None]
FindIn = Callable[[tuple[Route, ...]], Find[Target]]


def find_in_tree(tree: RouteTree, find_in: FindIn[Target]) -> Find[Target]:
    """find_in: compiles a list of routes."""
    otherwise = find_in(tree.otherwise)
    choose = _by_rules(tree, find_in) if tree.rules else _by_value(tree, find_in)

    def find(request: Request, stream: Seen) -> Target | None:
        return (choose(request) or otherwise)(request, stream)

    return find


def _by_rules(tree: RouteTree, find_in: FindIn[Target]) -> Callable[[Request], Find[Target] | None]:
    rules = [(_test(predicate), find_in(routes)) for predicate, routes in tree.rules]
    return lambda request: next((found for test, found in rules if test(request)), None)


def _by_value(tree: RouteTree, find_in: FindIn[Target]) -> Callable[[Request], Find[Target] | None]:
    value_of = _value(tree.header)
    branches = {key.encode(): find_in(routes) for key, routes in tree.branches.items()}
    lengths = sorted({len(key) for key in branches}, reverse=True)

    def exact(request: Request) -> Find[Target] | None:
        value = value_of(request)
        return None if value is None else branches.get(value)

    def longest(request: Request) -> Find[Target] | None:
        value = value_of(request)
        if value is None:
            return None
        found = (branches.get(value[:length]) for length in lengths if length <= len(value))
        return next((each for each in found if each is not None), None)

    return longest if tree.by_prefix else exact


def _value(name: str) -> Value:
    values_of = match.request_values(name.encode())
    return lambda request: b",".join(values) if (values := values_of(request)) else None


def _test(predicate: HeaderPredicate) -> match.RequestMatch:
    if predicate.kind == "single":
        assert predicate.string is not None, "the decoder sets it"
        value_of, test = _value(predicate.header), match.string(predicate.string)
        return lambda request: (value := value_of(request)) is not None and test(value)
    inner = [_test(each) for each in predicate.inner]
    if predicate.kind == "not":
        return lambda request: not inner[0](request)
    if predicate.kind == "and":
        return lambda request: all(each(request) for each in inner)
    return lambda request: any(each(request) for each in inner)
