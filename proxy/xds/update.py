"""What the two xDS machines hand on: a response taken apart, the same for both variants.

Nothing is decoded here; `client` decodes resource by resource and tells the machine what was wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as PackedAny

from proxy.config.model import Node

USER_AGENT = "weft"
_MAX_ERROR_CHARS = 4096
_INVALID_ARGUMENT = 3
"""google.rpc.Code of a NACK."""


@dataclass(frozen=True, slots=True)
class Received:
    """One resource as it came: `type_url` is what the `Any` says it is."""

    name: str
    version: str
    type_url: str
    body: bytes = field(repr=False)
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """One response. complete: what is not in it is gone (state of the world, CDS and LDS). absent:
    names that were asked for and are nobody's (VHDS), with the version that this was told as."""

    type_url: str
    nonce: str
    version: str
    resources: tuple[Received, ...] = ()
    removed: tuple[str, ...] = ()
    complete: bool = False
    absent: tuple[tuple[str, str], ...] = ()


Held = Callable[[], Mapping[str, str]]
"""The versions of the resources of a type that we have, by name; asked only where it is needed."""
Request = discovery_pb2.DeltaDiscoveryRequest | discovery_pb2.DiscoveryRequest


class Machine(Protocol):
    """One variant of xDS as a client, without input or output.

    open: a new stream begins; nothing sent before counts any more.
    subscribe: the request to send so that exactly `names` are subscribed, None if they are
        already; names None means all there are (CDS, LDS), and so does `*` beside other names.
    feed: a response; None if it is of a type that was never asked for.
    answer: the ACK, or the NACK that says what was wrong with which resource.
    """

    def open(self) -> None: ...

    def subscribe(
        self, type_url: str, names: frozenset[str] | None, held: Held
    ) -> Request | None: ...

    def feed(self, response: Any) -> Update | None: ...

    def answer(self, update: Update, errors: Mapping[str, str]) -> Request: ...


def node_message(node: Node, version: str) -> base_pb2.Node:
    """`node` as every first request carries it."""
    message = base_pb2.Node(
        id=node.id,
        cluster=node.cluster,
        user_agent_name=USER_AGENT,
        user_agent_version=version,
    )
    json_format.ParseDict(dict(node.metadata), message.metadata)
    region, zone, sub_zone = node.locality
    if region or zone or sub_zone:
        message.locality.CopyFrom(base_pb2.Locality(region=region, zone=zone, sub_zone=sub_zone))
    return message


def received(name: str, version: str, packed: PackedAny, aliases: tuple[str, ...] = ()) -> Received:
    return Received(name, version, packed.type_url, packed.value, aliases)


def fill_error(request: Request, errors: Mapping[str, str]) -> None:
    """Makes a request a NACK if there are errors: `name: path: why` of each, in their order."""
    if errors:
        text = "; ".join(f"{name}: {why}" if name else why for name, why in errors.items())
        request.error_detail.code = _INVALID_ARGUMENT
        request.error_detail.message = text[:_MAX_ERROR_CHARS]
