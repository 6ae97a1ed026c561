"""The incremental variant of xDS, as its client, one machine for all streams that follow.

    on a new stream      the first request of a type names what is wanted and the versions that we
                         hold (initial_resource_versions); CDS and LDS without names mean all
    names change         only the difference is sent (resource_names_subscribe / _unsubscribe)
    response             answered by its nonce: ACK, or NACK with what was wrong

A NACK does not take back the good resources of its response: the next stream tells the versions
that were really accepted. SANS-IO; it knows nothing of what is inside a resource.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

from protos.types import VHDS
from proxy.xds.update import Held, Update, fill_error, received

WILDCARD = "*"
_ALL = frozenset((WILDCARD,))


class DeltaMachine:
    """See `update.Machine`. `node` goes with each request, or with a stream's first only."""

    def __init__(self, node: base_pb2.Node, node_on_first_only: bool = True) -> None:
        self._node = node
        self._node_on_first_only = node_on_first_only
        self._node_sent = False
        self._subscribed: dict[str, frozenset[str] | None] = {}

    def open(self) -> None:
        self._node_sent = False
        self._subscribed = {}

    def subscribe(
        self, type_url: str, names: frozenset[str] | None, held: Held
    ) -> discovery_pb2.DeltaDiscoveryRequest | None:
        if type_url not in self._subscribed:
            return self._first(type_url, names, held)
        before = self._subscribed[type_url]
        if names == before:
            return None
        self._subscribed[type_url] = names
        # Who has named anything no longer means all by naming nothing (xDS, wildcards).
        names, before = _ALL if names is None else names, before or frozenset()
        return self._request(
            type_url,
            resource_names_subscribe=sorted(names - before),
            resource_names_unsubscribe=sorted(before - names),
        )

    def _first(
        self, type_url: str, names: frozenset[str] | None, held: Held
    ) -> discovery_pb2.DeltaDiscoveryRequest | None:
        if names is not None and not names:
            return None
        self._subscribed[type_url] = names
        have = held()
        every = names is None or WILDCARD in names or type_url == VHDS  # aliases are asked for
        versions = {k: v for k, v in have.items() if every or k in (names or ())}
        return self._request(
            type_url,
            resource_names_subscribe=sorted(names or ()),
            initial_resource_versions=versions,
        )

    def feed(self, response: discovery_pb2.DeltaDiscoveryResponse) -> Update | None:
        if response.type_url not in self._subscribed:
            return None
        return Update(
            response.type_url,
            response.nonce,
            response.system_version_info,
            # One without a body is a heartbeat of its TTL, or (VHDS) says that there is none.
            tuple(
                received(each.name, each.version, each.resource, tuple(each.aliases))
                for each in response.resources
                if each.HasField("resource")
            ),
            tuple(response.removed_resources),
            absent=_absent(response) if response.type_url == VHDS else (),
        )

    def answer(
        self, update: Update, errors: Mapping[str, str]
    ) -> discovery_pb2.DeltaDiscoveryRequest:
        request = self._request(update.type_url, response_nonce=update.nonce)
        fill_error(request, errors)
        return request

    def _request(
        self,
        type_url: str,
        *,
        response_nonce: str = "",
        resource_names_subscribe: list[str] | None = None,
        resource_names_unsubscribe: list[str] | None = None,
        initial_resource_versions: dict[str, str] | None = None,
    ) -> discovery_pb2.DeltaDiscoveryRequest:
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=type_url,
            response_nonce=response_nonce,
            resource_names_subscribe=resource_names_subscribe,
            resource_names_unsubscribe=resource_names_unsubscribe,
            initial_resource_versions=initial_resource_versions,
        )
        if not (self._node_sent and self._node_on_first_only):
            request.node.CopyFrom(self._node)
            self._node_sent = True
        return request


def _absent(response: discovery_pb2.DeltaDiscoveryResponse) -> tuple[tuple[str, str], ...]:
    empty = (each for each in response.resources if not each.HasField("resource"))
    names = ((name, one.version) for one in empty for name in (one.name, *one.aliases))
    return tuple(dict.fromkeys(names))
