"""Kubernetes' LabelSelector: matchLabels and matchExpressions."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.analyze.fields import Field
from controlplane.analyze.population import has


def selects(selector: Field, labels: Mapping[str, str]) -> bool:
    """An empty one selects everything; an operator that there is not, nothing."""
    if not has(labels, selector["matchLabels"].labels):
        return False
    return all(_holds(one, labels) for one in selector["matchExpressions"].items)


def _holds(requirement: Field, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement["key"].text)
    values = [item.text for item in requirement["values"].items]
    match requirement["operator"].text:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return False


def values_of(selector: Field, key: str) -> list[str]:
    """All values that a selector names of one label."""
    found = [value for name, value in selector["matchLabels"].labels.items() if name == key]
    for requirement in selector["matchExpressions"].items:
        if requirement["key"].text == key:
            found += requirement["values"].texts
    return found
