"""How a denial is told: in Envoy's words, and where the configuration says more, in its own."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

from proxy.config.model.rbac import AnyRules

_BLANK = re.compile(r"[ \t\n\v\f\r]")
DENIED = b"RBAC: access denied"
ASKED = "weft.asked"
"""The namespace of metadata in which rules that only point out (CUSTOM) leave who they are, for the
filter behind them that asks another service."""


def denial_detail(policy: str) -> str:
    """For the log; blanks would make another column there. policy '': none applied."""
    return f"rbac_access_denied_matched_policy[{_BLANK.sub('_', policy or 'none')}]"


def source_of(rules: AnyRules, policy: str) -> str:
    """Where the policy stands; '' if nobody has said so."""
    explanation = rules.explanation
    return explanation.sources.get(policy, "") if policy else explanation.none


def denial_body(rules: AnyRules, policy: str) -> bytes:
    """What the client reads."""
    if not rules.explanation.tells:
        return DENIED
    source = source_of(rules, policy)
    if not policy:
        return DENIED + f": {source}".encode() if source else DENIED
    where = f" ({source})" if source else ""
    return DENIED + f" by {policy}{where}".encode()


def point_out(metadata: MutableMapping[str, dict[str, Any]], rules: AnyRules, policy: str) -> None:
    """Says by which policy another service is to be asked."""
    source, tells = source_of(rules, policy), rules.explanation.tells
    metadata[ASKED] = {"policy": policy, "source": source, "tells": tells}
