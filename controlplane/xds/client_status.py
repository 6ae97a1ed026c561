"""What each client has of what it asked for, in the words of CSDS (Envoy's ClientConfig).

    status      of a resource that
    SYNCED      the client has acknowledged
    STALE       was sent, and is not answered yet
    ERROR       the client has rejected, and why
    NOT_SENT    the client wants, and that there is none

Pure. Secrets are told without what is in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from envoy.config.core.v3.base_pb2 import Node as EnvoyNode
from envoy.service.status.v3.csds_pb2 import (
    ERROR,
    NOT_SENT,
    STALE,
    SYNCED,
    ClientConfig,
    ClientStatusRequest,
)
from envoy.type.matcher.v3.node_pb2 import NodeMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.any_pb2 import Any

from certs.spiffe import SpiffeId
from controlplane.resources import Resource
from controlplane.xds.service import Connection
from controlplane.xds.stream import GONE, Subscription, by_wildcard
from protos.types import SDS, VHDS

PART_BYTES = 2 << 20
"""A part of an answer is sent when it is that large; gRPC's clients take 4 MiB in a message."""
MAX_PARTS = 4
"""Of a call that has one answer."""

MAX_MATCHERS = 100

Match = Callable[[str], bool]
_KINDS = ("exact", "prefix", "suffix", "contains")

GenericXdsConfig = ClientConfig.GenericXdsConfig


class BadRequest(ValueError):
    """What was asked can't be answered; the text says what to ask instead."""


def asked_for(
    request: ClientStatusRequest, connections: Iterable[Connection], who: SpiffeId | None
) -> list[Connection]:
    """Those that match, and that `who` (None: the administrator) may see: its own. BadRequest."""
    if len(request.node_matchers) > MAX_MATCHERS:
        raise BadRequest(f"more than {MAX_MATCHERS} node_matchers: ask several times")
    wanted = [_node_id(one) for one in request.node_matchers]
    if who is not None and request.node.id:
        wanted.append(StringMatcher(exact=request.node.id))
    match = _one_of(wanted) if wanted else None
    found = [
        one
        for one in connections
        if (who is None or one.identity == who) and (match is None or match(one.node.id))
    ]
    return sorted(found, key=lambda one: (one.node.id, one.connected_at))


def _node_id(asked: NodeMatcher) -> StringMatcher:
    if asked.node_metadatas:
        raise BadRequest("node_matchers.node_metadatas is not supported: match by node_id")
    if asked.node_id.WhichOneof("match_pattern") not in _KINDS:
        raise BadRequest("node_matchers.node_id: expected exact, prefix, suffix or contains")
    return asked.node_id


def _one_of(wanted: list[StringMatcher]) -> Match:
    """All of them at once: many clients are asked about."""
    exactly = _any_of([one for one in wanted if not one.ignore_case], str)
    whatever_case = _any_of([one for one in wanted if one.ignore_case], str.lower)
    return lambda text: exactly(text) or whatever_case(text.lower())


def _any_of(wanted: list[StringMatcher], made: Callable[[str], str]) -> Match:
    by_kind: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for one in wanted:
        kind = str(one.WhichOneof("match_pattern"))
        by_kind[kind].append(made(getattr(one, kind)))
    whole = frozenset(by_kind["exact"])
    heads, tails = tuple(by_kind["prefix"]), tuple(by_kind["suffix"])
    within = re.compile("|".join(map(re.escape, by_kind["contains"]))).search
    within_any = bool(by_kind["contains"])
    return lambda text: (
        text in whole
        or text.startswith(heads)
        or text.endswith(tails)
        or (within_any and within(text) is not None)
    )


# --------------------------------------------------------------------------- one client


def client_config(connection: Connection, *, contents: bool) -> ClientConfig:
    """contents: with the resources themselves."""
    node, machine = connection.node, connection.machine
    made = ClientConfig(node=EnvoyNode(id=node.id, user_agent_name=node.user_agent))
    for type_url in sorted(machine.subscriptions):
        held = machine.subscriptions[type_url]
        for name, resource in _resources(connection, type_url, held):
            config = made.generic_xds_configs.add(type_url=type_url, name=name)
            _fill(config, held, resource, name)
            if connection.last_push_at and resource is not None:
                config.last_updated.FromNanoseconds(round(connection.last_push_at * 1e9))
            if contents and resource is not None and resource.body and type_url != SDS:
                config.xds_config.CopyFrom(Any.FromString(resource.body))
    return made


def _resources(
    connection: Connection, type_url: str, held: Subscription
) -> Iterator[tuple[str, Resource | None]]:
    """All that the client wants or has; None: there is no such resource."""
    there = connection.machine.snapshot.of(type_url)
    has = (name for name, version in held.sent.items() if version != GONE)
    for name in sorted(held.names.union(has)):
        found = there.get(name)
        if found is None and type_url == VHDS:
            found = by_wildcard(there, name)
        yield name, found


def _fill(
    config: GenericXdsConfig, held: Subscription, resource: Resource | None, name: str
) -> None:
    if (why := held.rejected.get(name)) is not None:
        config.config_status = ERROR
        config.error_state.details = why
        config.error_state.version_info = held.sent.get(name, "")
    elif resource is None:
        config.config_status = NOT_SENT
    elif held.sent.get(name) != resource.version:
        config.config_status = NOT_SENT if not held.sent.get(name) else STALE
    elif any(name in push.names for push in held.awaiting.values()):
        config.config_status = STALE
    else:
        config.config_status = SYNCED
    if resource is not None:
        config.version_info = resource.version
