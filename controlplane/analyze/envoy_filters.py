"""IST0151 to IST0155: patches of EnvoyFilters that may not be applied.

A relative operation needs what it refers to; which of several EnvoyFilters comes first is only
certain where a priority says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analyze.fields import Field
from controlplane.analyze.finding import Finding
from controlplane.analyze.items import Item, Items

_RELATIVE = frozenset(("REMOVE", "REPLACE", "INSERT_BEFORE", "INSERT_AFTER", "MERGE"))
_WHOLE = frozenset(("ROUTE_CONFIGURATION", "HTTP_ROUTE"))
_MERGED = frozenset(("CLUSTER", "LISTENER", "FILTER_CHAIN", "VIRTUAL_HOST", *_WHOLE))
"""Of which a MERGE finds all there are, whatever came first."""
_FILTERS = frozenset(("NETWORK_FILTER", "HTTP_FILTER"))


def uncertain_patches(items: Items) -> Iterator[Finding]:
    versioned: set[str] = set()
    for item in items.of("EnvoyFilter", "istio.io"):
        for patch in item.spec["configPatches"].items:
            if not patch["patch"]:
                break
            name = _filter_name(patch)
            yield from _judged(item, patch, name in versioned)
            if patch["match"]["proxy"]["proxyVersion"].text:
                versioned.add(name)


def _filter_name(patch: Field) -> str:
    value = patch["patch"]["value"]
    if not value:
        return ""
    return value["name"].text or patch["match"]["listener"]["filterChain"]["filter"]["name"].text


def _judged(item: Item, patch: Field, versioned: bool) -> Iterator[Finding]:
    operation, target = patch["patch"]["operation"], patch["applyTo"].text
    position = operation.position
    if operation.text == "ADD" and target in _WHOLE:
        message = f"ADD has no effect on {target}; use MERGE, or VIRTUAL_HOST and its routes"
        yield Finding("IST0153", item, position, message)
    elif operation.text == "REMOVE" and target in _WHOLE:
        message = f"REMOVE has no effect on {target}; use MERGE, or patch the VIRTUAL_HOST"
        yield Finding("IST0154", item, position, message)
    elif operation.text == "REPLACE" and target not in _FILTERS:
        message = f"REPLACE is for HTTP_FILTER and NETWORK_FILTER, not for {target}; use MERGE"
        yield Finding("IST0152", item, position, message)
    elif _is_relative(operation, target) and not item.spec["priority"].text.strip("0"):
        yield _relative(item, operation, versioned)


def _is_relative(operation: Field, target: str) -> bool:
    return operation.text in _RELATIVE and not (operation.text == "MERGE" and target in _MERGED)


def _relative(item: Item, operation: Field, versioned: bool) -> Finding:
    message = (
        f"{operation.text} depends on which EnvoyFilter comes first; set spec.priority, or use "
        "INSERT_FIRST or ADD"
    )
    if versioned:
        message += "; with match.proxy.proxyVersion it may be skipped during an upgrade"
    return Finding("IST0155" if versioned else "IST0151", item, operation.position, message)
