"""Who looks at the first bytes of what comes to the virtual inbound listener, and at which ports.

Where nothing depends on them nobody waits for them: the server may speak first there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from envoy.config.listener.v3.listener_components_pb2 import (
    FilterChain,
    FilterChainMatch,
    ListenerFilter,
    ListenerFilterChainMatchPredicate,
)

from controlplane.emit import managers
from controlplane.emit.sidecars.capture import PLAIN_HTTP
from controlplane.emit.sidecars.listeners import http_inspector

Predicate = ListenerFilterChainMatchPredicate
_Asks = Callable[[FilterChainMatch], bool]


def inspectors(chains: Iterable[FilterChain], own_port: int = 0) -> Iterator[ListenerFilter]:
    """own_port: at which nobody is served."""
    matches = [one.filter_chain_match for one in chains]
    matches = [one for one in matches if not own_port or one.destination_port.value != own_port]
    for asks, made in (
        (_asks_for_tls, managers.inspector()),
        (_asks_for_http, http_inspector()),
    ):
        wanted = {one.destination_port.value for one in matches if asks(one)}
        if not wanted:
            continue
        others = {one.destination_port.value for one in matches} - wanted
        if 0 in wanted and others:
            made.filter_disabled.CopyFrom(_one_of(others))
        elif 0 in others:
            made.filter_disabled.not_match.CopyFrom(_one_of(wanted))
        yield made


def _asks_for_tls(match: FilterChainMatch) -> bool:
    return match.transport_protocol == "tls"


def _asks_for_http(match: FilterChainMatch) -> bool:
    return not set(PLAIN_HTTP).isdisjoint(match.application_protocols)


def _one_of(ports: Iterable[int]) -> Predicate:
    """Envoy wants two rules at least where one of several is to hold."""
    rules = []
    for port in sorted(ports):
        rule = Predicate()
        rule.destination_port_range.start = port
        rule.destination_port_range.end = port + 1
        rules.append(rule)
    if len(rules) == 1:
        return rules[0]
    made = Predicate()
    made.or_match.rules.extend(rules)
    return made
