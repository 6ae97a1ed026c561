"""Decodes which answers outlier detection takes for errors, as statuses.

Envoy asks a matcher of all headers of the answer; here it may ask of `:status` alone, so that
nothing is matched when an answer comes.
"""

from __future__ import annotations

from collections.abc import Callable

from envoy.config.common.matcher.v3 import matcher_pb2

from proxy.config.decode_matchers import header_matchers
from proxy.config.fields import UNSUPPORTED
from proxy.config.model import HeaderMatcher
from proxy.config.rejected import Rejected, at

Statuses = frozenset[int]
Predicate = matcher_pb2.MatchPredicate
STATUS = ":status"
MAX_DEPTH = 16
_ALL: Statuses = frozenset(range(100, 600))


def error_statuses(predicate: Predicate, path: str, depth: int = 0) -> Statuses:
    """Those for which it is true. Raises Rejected."""
    if depth > MAX_DEPTH:
        raise Rejected(path, f"is nested more than {MAX_DEPTH} deep")
    kind = predicate.WhichOneof("rule")
    if kind == "or_match":
        return frozenset[int]().union(*_rules(predicate.or_match, path, kind, depth))
    if kind == "and_match":
        return _ALL.intersection(*_rules(predicate.and_match, path, kind, depth))
    if kind == "not_match":
        return _ALL - error_statuses(predicate.not_match, at(path, kind), depth + 1)
    if kind == "any_match":
        return _ALL if predicate.any_match else frozenset()
    if kind == "http_response_headers_match":
        where = at(path, f"{kind}.headers")
        matchers = header_matchers(predicate.http_response_headers_match.headers, where)
        asked = (_taken(each, f"{where}[{i}]") for i, each in enumerate(matchers))
        return _ALL.intersection(*asked)
    raise Rejected(path, "needs one of or_match, and_match, not_match and so on")


def _rules(found: Predicate.MatchSet, path: str, kind: str, depth: int) -> tuple[Statuses, ...]:
    where = at(path, f"{kind}.rules")
    return tuple(
        error_statuses(each, f"{where}[{index}]", depth + 1)
        for index, each in enumerate(found.rules)
    )


def _taken(matcher: HeaderMatcher, path: str) -> Statuses:
    if matcher.name != STATUS:
        raise Rejected(f"{path}.name", f"only {STATUS} is supported")
    if matcher.range is not None:
        start, end = matcher.range
        found = frozenset(status for status in _ALL if start <= status < end)
    elif matcher.string is not None:
        found = _like(matcher.string.kind, matcher.string.value, path)
    else:
        found = _ALL if matcher.present else frozenset()
    return _ALL - found if matcher.invert else found


def _like(kind: str, value: str, path: str) -> Statuses:
    tests: dict[str, Callable[[str, str], bool]] = {
        "exact": str.__eq__,
        "prefix": str.startswith,
        "suffix": str.endswith,
        "contains": str.__contains__,
    }
    if kind not in tests:
        raise Rejected(path, f"{kind} of {STATUS} is {UNSUPPORTED}")
    return frozenset(status for status in _ALL if tests[kind](str(status), value))
