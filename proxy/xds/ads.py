"""The state-of-the-world variant of xDS, as its client, one machine for all streams that follow.

    request                     version_info                 response_nonce
    first of a type on a stream the last accepted one        ''
    names changed               the last accepted one        the last one of the type
    ACK                         the response's               the response's
    NACK (error_detail)         the last accepted one        the response's

A response of CDS or LDS is complete: what is not in it is gone. SANS-IO; it knows nothing of what
is inside a resource but its name, which nothing else tells.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError

from protos.types import CDS, LDS
from proxy.config.decode import RESOURCES, name_of
from proxy.xds.update import Held, Received, Update, fill_error, received

_COMPLETE = (CDS, LDS)
_WRAPPER = discovery_pb2.Resource.DESCRIPTOR.full_name


class SotwMachine:
    """See `update.Machine`. `node` goes with each request, or with a stream's first only."""

    def __init__(self, node: base_pb2.Node, node_on_first_only: bool = True) -> None:
        self._node = node
        self._node_on_first_only = node_on_first_only
        self._node_sent = False
        self._names: dict[str, frozenset[str] | None] = {}
        self._nonces: dict[str, str] = {}
        self._accepted: dict[str, str] = {}

    def open(self) -> None:
        self._node_sent = False
        self._names = {}
        self._nonces = {}

    def subscribe(
        self, type_url: str, names: frozenset[str] | None, held: Held
    ) -> discovery_pb2.DiscoveryRequest | None:
        """`held` is not told: this variant has one version for all resources of a type."""
        if type_url in self._names:
            if self._names[type_url] == names:
                return None
        elif names is not None and not names:
            return None
        self._names[type_url] = names
        return self._request(type_url)

    def feed(self, response: discovery_pb2.DiscoveryResponse) -> Update | None:
        type_url = response.type_url
        if type_url not in self._names or type_url not in RESOURCES:
            return None
        self._nonces[type_url] = response.nonce
        resources = tuple(
            _received(type_url, each, response.version_info) for each in response.resources
        )
        return Update(
            type_url,
            response.nonce,
            response.version_info,
            resources,
            complete=type_url in _COMPLETE,
        )

    def answer(self, update: Update, errors: Mapping[str, str]) -> discovery_pb2.DiscoveryRequest:
        if not errors:
            self._accepted[update.type_url] = update.version
        request = self._request(update.type_url)
        fill_error(request, errors)
        return request

    def _request(self, type_url: str) -> discovery_pb2.DiscoveryRequest:
        request = discovery_pb2.DiscoveryRequest(
            type_url=type_url,
            version_info=self._accepted.get(type_url, ""),
            response_nonce=self._nonces.get(type_url, ""),
            resource_names=sorted(self._names[type_url] or ()),
        )
        if not (self._node_sent and self._node_on_first_only):
            request.node.CopyFrom(self._node)
            self._node_sent = True
        return request


def _received(type_url: str, packed: any_pb2.Any, version: str) -> Received:
    """The resource inside; a server may wrap it to give it a name and a TTL."""
    if packed.type_url.rpartition("/")[2] != _WRAPPER:
        return received(name_of(type_url, packed.value), version, packed)
    try:
        wrapper = discovery_pb2.Resource.FromString(packed.value)
    except DecodeError:
        return received("", version, packed)
    return received(wrapper.name, version, wrapper.resource)
