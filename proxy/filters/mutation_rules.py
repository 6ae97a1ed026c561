"""Which headers of a request another program may change: Envoy's `HeaderMutationRules`."""

from __future__ import annotations

from collections.abc import Callable

from proxy import match
from proxy.config.model.ext_authz import MutationRules

_ROUTING = frozenset({"host", ":authority", ":scheme", ":method"})


def may_change(rules: MutationRules) -> Callable[[str], bool]:
    """By name, in lower case. Expressions go before everything, and what forbids first."""
    disallow = match.full_regex(rules.disallow) if rules.disallow else None
    allow = match.full_regex(rules.allow) if rules.allow else None

    def check(name: str) -> bool:
        text = name.encode()
        if disallow is not None and disallow(text):
            return False
        if allow is not None and allow(text):
            return True
        if rules.disallow_all or (rules.disallow_system and name.startswith(":")):
            return False
        if name in _ROUTING:
            return rules.allow_all_routing
        return rules.allow_envoy or not name.startswith("x-envoy-")

    return check
