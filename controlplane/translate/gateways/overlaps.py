"""Listeners of HTTPS on one port whose names overlap (Gateway API: OverlappingTLSConfig).

A client may use an HTTP/2 connection for another host of the same certificate and address (RFC
9113, 9.1.1), and would so reach a listener that it did not ask for: what belongs to another one is
421 (`servers`), and this condition says why that may happen.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, groupby

from certs.credential import dns_names
from controlplane.mesh.conditions import Condition
from controlplane.translate.credentials import Credentials
from controlplane.translate.gateways.hosts import ANY, common
from controlplane.translate.gateways.listeners import State

Names = tuple[str, ...]


def judge_overlaps(found: Iterable[State], credentials: Credentials) -> None:
    """Notes it at both listeners; an overlap of certificates goes before one of host names."""
    served = [one for one in found if one.is_programmed and one.listener.protocol == "HTTPS"]
    by_port = sorted(served, key=_port)
    for _, group in groupby(by_port, key=_port):
        states = list(group)
        if len(states) > 1:
            certified = [_certified(state, credentials) for state in states]
            hosts: list[Names] = [(state.listener.hostname or ANY,) for state in states]
            _compare(states, certified, "OverlappingCertificates", "the certificate's name")
            _compare(states, hosts, "OverlappingHostnames", "the host name")


def _port(state: State) -> int:
    return state.listener.port


def _certified(state: State, credentials: Credentials) -> Names:
    """The DNS names of its certificates."""
    found = (credentials.find(*name) for name in state.tls.credentials) if state.tls else ()
    return tuple(name for one in found if one is not None for name in dns_names(one.chain))


def _compare(states: list[State], names: list[Names], reason: str, what: str) -> None:
    for one, other in combinations(range(len(states)), 2):
        if shared := _overlap(names[one], names[other]):
            for index, beside, (own, its) in (
                (one, other, shared),
                (other, one, shared[::-1]),
            ):
                message = f"{what} {own} overlaps with {its} of {states[beside].listener.name}"
                if states[index].overlap is None:
                    told = f"{message}; requests for the other listener get 421"
                    condition = Condition("OverlappingTLSConfig", "True", reason, told)
                    states[index].overlap = condition


def _overlap(some: Names, others: Names) -> tuple[str, str] | None:
    pairs = ((one, other) for one in some for other in others if common(one, other))
    return next(pairs, None)
