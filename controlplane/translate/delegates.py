"""Delegation: rules of one VirtualService (the root) that another one (the delegate) spells out.

Istio's rules: each rule of the delegate counts with the match of the root's as well; one whose
match is not within the root's is left out. What the delegate's rule does not set it takes from the
root's. There is one level only.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from controlplane.kinds.export_to import namespaces_of
from controlplane.kinds.http_match import HttpMatch, PresenceMatch
from controlplane.kinds.http_rule import HttpRoute
from controlplane.kinds.virtual_service import VirtualService
from controlplane.translate.questions import Index, asked, unlike
from controlplane.translate.report import Report


class Delegates(Index):
    """VirtualServices without hosts, by name."""

    def __init__(self, virtual_services: Iterable[VirtualService]) -> None:
        self._found = {
            (item.namespace, item.name): item for item in virtual_services if item.spec.is_delegate
        }

    def marks(self, args: tuple[Any, ...]) -> Iterable[Hashable]:
        return (args,)

    def changed_since(self, before: Delegates) -> Collection[Hashable]:
        return unlike(before._found, self._found)

    @asked
    def get(self, namespace: str, name: str) -> VirtualService | None:
        return self._found.get((namespace, name))


class OwnedRoute(NamedTuple):
    """A rule, whose it is, and where in its owner it stands."""

    owner: VirtualService
    path: str
    route: HttpRoute


def routes_of(root: VirtualService, delegates: Delegates, report: Report) -> Iterator[OwnedRoute]:
    """The HTTP rules of `root`, delegated ones in the place of the rule that delegates."""
    for index, route in enumerate(root.spec.http):
        path = f"spec.http[{index}]"
        if route.delegate is None:
            yield OwnedRoute(root, path, route)
        elif (found := _delegate(root, path, route, delegates, report)) is not None:
            yield from _merged(route, found, report)


def _delegate(
    root: VirtualService, path: str, route: HttpRoute, delegates: Delegates, report: Report
) -> VirtualService | None:
    wanted = route.delegate
    assert wanted is not None
    namespace = wanted.namespace or root.namespace
    found = delegates.get(namespace, wanted.name)
    fault = ""
    if found is None:
        fault = f"no VirtualService {namespace}/{wanted.name} without hosts"
    else:
        exported = namespaces_of(found.spec.export_to, found.namespace)
        if exported is not None and root.namespace not in exported:
            fault = f"{found.key} is not exported to {root.namespace!r}"
    if fault:
        message = f"{path}.delegate: {fault}; this rule takes nothing"
        report.error(root, wanted.position, "UnknownDelegate", message)
        return None
    return found


def _merged(root: HttpRoute, delegate: VirtualService, report: Report) -> Iterator[OwnedRoute]:
    for index, route in enumerate(delegate.spec.http):
        path = f"spec.http[{index}]"
        matches = _matches(root.match, route.match)
        if matches is None:
            message = (
                f"{path}: its match is not within that of the rule at {root.position}, which "
                "delegates here; it takes nothing from there"
            )
            report.warning(delegate, route.position, "Conflict", message)
            continue
        yield OwnedRoute(delegate, path, _over(root, replace(route, match=matches)))


_INHERITED = (
    "rewrite",
    "timeout_s",
    "retries",
    "fault",
    "mirror",
    "mirror_percent",
    "old_mirror_percent",
    "mirror_percentage",
    "cors_policy",
)


def _over(root: HttpRoute, route: HttpRoute) -> HttpRoute:
    """The delegate's rule, with what the root's says where it says nothing."""
    taken = {
        key: value
        for key in _INHERITED
        if getattr(route, key) is None and (value := getattr(root, key)) is not None
    }
    if not route.mirrors:
        taken["mirrors"] = root.mirrors
    if "headers" not in route.where:
        taken["headers"] = root.headers
    return replace(route, name=_joined(root.name, route.name), **taken)


def _joined(first: str, second: str) -> str:
    return "-".join(filter(None, (first, second)))


# --------------------------------------------------------------------------- matches


def _matches(
    roots: tuple[HttpMatch, ...], leaves: tuple[HttpMatch, ...]
) -> tuple[HttpMatch, ...] | None:
    """Each pair that goes together; None where one of the delegate's goes with none."""
    if not roots or not leaves:
        return leaves or roots
    merged: list[HttpMatch] = []
    for leaf in leaves:
        pairs = [_both(root, leaf) for root in roots if _within(leaf, root)]
        if not pairs:
            return None
        merged += pairs
    return tuple(merged)


_SINGLE = ("uri", "scheme", "method", "authority")
_MANY = ("headers", "without_headers", "query_params")


def _within(leaf: HttpMatch, root: HttpMatch) -> bool:
    """Whether what `leaf` takes is no more than `root` does, as far as both speak of the same."""
    pairs = [(getattr(leaf, key), getattr(root, key)) for key in _SINGLE]
    for key in _MANY:
        mine: Mapping[str, PresenceMatch] = getattr(leaf, key)
        other: Mapping[str, PresenceMatch] = getattr(root, key)
        pairs += [(match, other.get(name)) for name, match in mine.items()]
    ports = {port for port in (leaf.port, root.port) if port is not None}
    return (
        all(_string_within(mine, other) for mine, other in pairs)
        and leaf.ignore_uri_case == root.ignore_uri_case
        and len(ports) < 2
    )


def _string_within(leaf: PresenceMatch | None, root: PresenceMatch | None) -> bool:
    if leaf is None or root is None:
        return True
    if leaf.regex or root.regex:
        return False
    if root.exact is not None:
        return leaf.exact == root.exact
    if root.prefix is not None:
        return (leaf.exact or leaf.prefix or "").startswith(root.prefix)
    return True


def _both(root: HttpMatch, leaf: HttpMatch) -> HttpMatch:
    """What the delegate's says, and the root's where it says nothing; of headers and such both."""
    return replace(
        leaf,
        uri=leaf.uri or root.uri,
        scheme=leaf.scheme or root.scheme,
        method=leaf.method or root.method,
        authority=leaf.authority or root.authority,
        headers={**root.headers, **leaf.headers},
        without_headers={**root.without_headers, **leaf.without_headers},
        query_params={**root.query_params, **leaf.query_params},
        name=_joined(root.name, leaf.name),
        port=leaf.port or root.port,
        stat_prefix=leaf.stat_prefix or root.stat_prefix,
        source_labels={**root.source_labels, **leaf.source_labels},
        source_namespace=leaf.source_namespace or root.source_namespace,
        gateways=leaf.gateways or root.gateways,
    )
