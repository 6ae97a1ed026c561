"""What is told of those whom another service turned away: the list of denials, the log, the body.

By which policy it was asked the RBAC filter in front has left in the metadata (Istio's CUSTOM); an
ext_authz filter that asks about every request has no policy to tell.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

from proxy.connection import ConnectionInfo
from proxy.denials import EXPLAINED, Denial, Denials, of_request
from proxy.filters.api import FilterContext, FilterStream, Reply
from proxy.filters.rbac_words import ASKED

ACTION = "CUSTOM"
Metadata = MutableMapping[str, dict[str, Any]]


def explained(context: FilterContext, stream: FilterStream, reply: Reply) -> Reply:
    """Notes that `reply` is a refusal. Its own body, if it has one, is the service's to write."""
    policy, source, tells = _blame(stream.metadata)
    prefix = f"{context.stat_prefix}ext_authz."
    denial = of_request(stream.request, stream.info, context.unix_now(), prefix, ACTION)
    denial.policy, denial.source = policy, source
    denial.reason = f"{reply.detail} {reply.status}"
    context.denials.note(denial)
    if not tells or reply.body or not policy:
        return reply
    where = f" ({source})" if source else ""
    return replace(reply, body=f"{reply.detail}, asked by {policy}{where}".encode())


def note_connection(
    denials: Denials, now: float, prefix: str, info: ConnectionInfo, metadata: Metadata, why: str
) -> None:
    """The same of a connection. now: Unix seconds."""
    policy, source, _ = _blame(metadata)
    denials.note(Denial(now, False, prefix, ACTION, policy, source, info, reason=why))


def _blame(metadata: Metadata) -> tuple[str, str, bool]:
    """(policy, its place, whether the client may hear it), of whatever asked; for the log, too."""
    found = metadata.get(ASKED)
    if found is None:
        return "", "", False
    policy, source, tells = found["policy"], found["source"], found["tells"]
    if source:
        metadata[EXPLAINED] = {"policy": policy, "source": source}
    return policy, source, tells
