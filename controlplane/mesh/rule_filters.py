"""What few HTTP rules want of the listeners that their requests come by: filters which nobody else
has, so that they are there only where some rule asks for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from controlplane.mesh.http_rules import HttpRule
from controlplane.mesh.policy import Authorizer
from protos.frozen import frozen


@frozen
class RuleFilters:
    """authorizers: each that some rule asks, once, in the order of the rules. sessions: some rule
    keeps requests of a client together."""

    authorizers: tuple[Authorizer, ...] = ()
    sessions: bool = False


NO_FILTERS: Final = RuleFilters()


def filters_of(rules: Iterable[HttpRule]) -> RuleFilters:
    authorizers: list[Authorizer] = []
    sessions = False
    for rule in rules:
        sessions = sessions or rule.session is not None
        authorizers += (one for one in rule.authorizers if one not in authorizers)
    return RuleFilters(tuple(authorizers), sessions)
