"""The HTTP filters that Weft has, in one table: type URL -> builder. The router is none of them."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.filters.api import Builder

FILTERS: Mapping[str, Builder] = {}
