"""`istio.metadata_exchange`: sidecars tell each other which workload they stand beside.

By headers of requests and answers, as Istio's proxies do it, so that metrics have names for both
sides. No application and no client ever sees a peer's.
"""

from __future__ import annotations

from typing import Final

from proxy.config.filters.decode_peer_metadata import (
    TYPE_URL,
    header_of,
    peer,
    peer_of_header,
)
from proxy.config.model.istio import Peer, PeerMetadata
from proxy.filters.api import Filter, FilterContext, FilterStream, Hooks
from proxy.http.headers import Edit, Headers
from proxy.http.message import Response

ID: Final = b"x-envoy-peer-metadata-id"
METADATA: Final = b"x-envoy-peer-metadata"
DOWNSTREAM_PEER: Final = "downstream_peer"
UPSTREAM_PEER: Final = "upstream_peer"
PASSTHROUGH: Final = "PassthroughCluster"
MAX_PEERS: Final = 1024
MAX_KEPT_BYTES: Final = 4096
"""Of a header that is read once for all requests that bear it: strangers may say more, in vain."""
_ASKED: Final = "weft.peer_metadata"

__all__ = ["TYPE_URL", "build"]


class KnownPeer:
    """One object for each peer that is known: equal to nothing else, so that it is cheap to ask
    what is known of it. `%FILTER_STATE%` says it in the words of Istio's workload metadata."""

    __slots__ = ("peer",)

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def __str__(self) -> str:
        return ",".join([f"{name}={value}" for name, value in self.as_json().items()])

    def as_json(self) -> dict[str, str]:
        peer = self.peer
        said = {
            "workload": peer.workload,
            "name": peer.instance,
            "cluster": peer.cluster,
            "namespace": peer.namespace,
            "service": peer.canonical_service,
            "revision": peer.canonical_revision,
            "app": peer.app,
            "version": peer.version,
        }
        return {name: value for name, value in said.items() if value}


def build(config: PeerMetadata, context: FilterContext) -> Filter:
    return PeerMetadataFilter(config, context)


class PeerMetadataFilter:
    def __init__(self, config: PeerMetadata, context: FilterContext) -> None:
        self._config = config
        self._clusters = context.clusters
        mine = header_of(peer(context.node_metadata))
        self._values = (context.node_id.encode("latin-1", "replace"), mine)
        self._remove = Edit((ID, METADATA))
        self._tell = Edit(names=(ID, METADATA))
        self._peers: dict[bytes, KnownPeer | None] = {}

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        config = self._config
        asks = config.reads_downstream or config.tells_upstream
        answers = config.reads_upstream or config.tells_downstream
        if not asks and not answers:
            return None
        return Hooks(
            on_request=self._on_request if asks else None,
            on_response=self._on_response if answers else None,
        )

    def _on_request(self, stream: FilterStream) -> None:
        config, headers = self._config, stream.request.headers
        if config.reads_downstream:
            index = headers.shape.index
            if ID in index or METADATA in index:
                self._read(stream, headers, DOWNSTREAM_PEER)
                stream.filter_state[_ASKED] = True
        if config.tells_upstream and not (config.skips_external and self._leaves_mesh(stream)):
            self._tell.apply(headers, self._values)

    def _on_response(self, stream: FilterStream, response: Response) -> None:
        config, headers = self._config, response.headers
        if config.reads_upstream:
            index = headers.shape.index
            if ID in index or METADATA in index:
                self._read(stream, headers, UPSTREAM_PEER)
        if config.tells_downstream and _ASKED in stream.filter_state:
            self._tell.apply(headers, self._values)

    def _read(self, stream: FilterStream, headers: Headers, name: str) -> None:
        value = headers.get(METADATA)
        if value is not None:
            found = self._known(value)
            if found is not None:
                stream.filter_state[name] = found
        self._remove.apply(headers)

    def _known(self, value: bytes) -> KnownPeer | None:
        """By all that it says: an id that two of them have is no reason to mix them up."""
        try:
            return self._peers[value]
        except KeyError:
            said = peer_of_header(value)
            found = None if said is None else KnownPeer(said)
            if len(value) <= MAX_KEPT_BYTES:
                if len(self._peers) >= MAX_PEERS:
                    self._peers.clear()
                self._peers[value] = found
            return found

    def _leaves_mesh(self, stream: FilterStream) -> bool:
        """Of a cluster that is fetched when it is asked for only its name is known, and of one
        that the request chooses nothing: Kubernetes' services are in the mesh."""
        route = stream.route
        name = "" if route is None else route.cluster_name
        cluster = self._clusters.get(name) if name else None
        if cluster is None:
            return ".svc." not in name
        if name == PASSTHROUGH:
            return True
        istio = cluster.metadata.get("istio")
        return istio is not None and istio.get("external") is True
