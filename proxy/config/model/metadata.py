"""Matchers of metadata: dynamic metadata of a request, or a route's own (`type.matcher.v3`)."""

from __future__ import annotations

from typing import Literal

from protos.frozen import frozen
from proxy.config.model.common import StringMatcher


@frozen
class ValueMatcher:
    """`ValueMatcher`. kind says which of the others is meant; numbers: start <= v < end, or one
    value twice. inner: of the elements of a list, or the alternatives of an `or`."""

    kind: Literal["null", "range", "exact", "string", "bool", "present", "list", "or"]
    string: StringMatcher | None = None
    numbers: tuple[float, float] = (0.0, 0.0)
    boolean: bool = False
    inner: tuple[ValueMatcher, ...] = ()


@frozen
class MetadataMatcher:
    """`MetadataMatcher`: the value at `path` below the namespace `filter`."""

    filter: str
    path: tuple[str, ...]
    value: ValueMatcher
    invert: bool = False
