"""`istio.stats`: Istio's metrics of requests, by the workloads at both ends of them.

What a request is counted in is found by one tuple of what its labels depend on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from proxy.config.filters.decode_istio_stats import HTTP_METRICS, TYPE_URL
from proxy.config.filters.decode_peer_metadata import peer
from proxy.config.model.istio import UNKNOWN, IstioStats, Peer
from proxy.filters.api import ClusterView, Filter, FilterContext, FilterStream, Hooks
from proxy.filters.grpc_stats import STATE as GRPC_STATE
from proxy.filters.grpc_stats import Call
from proxy.filters.istio_labels import (
    MAX_VALUE_CHARACTERS,
    NOBODY,
    namespace_of,
    of_endpoint,
    service_labels,
    service_of,
    workload_labels,
)
from proxy.filters.istio_metrics import Metrics, Record, faces_strangers
from proxy.filters.istio_values import of_requests
from proxy.filters.peer_metadata import DOWNSTREAM_PEER, UPSTREAM_PEER, KnownPeer
from proxy.http.headers import Headers
from proxy.stats import Counter, Labels

GRPC: Final = b"application/grpc"
_GRPC_OF: Final = b"application/grpc+"
MAX_KNOWN: Final = 4096

__all__ = ["TYPE_URL", "build"]


def build(config: IstioStats, context: FilterContext) -> Filter:
    return IstioStatsFilter(config, context)


class Series:
    """What the requests of one combination of labels are counted in."""

    __slots__ = (
        "answered_bytes",
        "answered_messages",
        "asked_bytes",
        "asked_messages",
        "requests",
        "took_ms",
    )

    def __init__(
        self,
        requests: Counter,
        took_ms: Record,
        asked_bytes: Record,
        answered_bytes: Record,
        messages: tuple[Counter, Counter] | None,
    ) -> None:
        self.requests = requests
        self.took_ms = took_ms
        self.asked_bytes = asked_bytes
        self.answered_bytes = answered_bytes
        self.asked_messages = None if messages is None else messages[0]
        self.answered_messages = None if messages is None else messages[1]


class Key(NamedTuple):
    """All that labels depend on. known: the peer by its header; endpoint: else what the endpoint's
    metadata says. theirs, mine: principals. values: of users' expressions."""

    service: str
    service_name: str
    known: KnownPeer | None
    endpoint: str
    theirs: str
    mine: str
    status: int
    flags: str
    grpc: bool
    grpc_status: str
    values: tuple[str, ...]


_Parts = tuple[str, str, KnownPeer | None, str, str, str, int, str, bool, str, tuple[str, ...]]
"""A Key before anybody needs the names of its parts; equal to it."""


class IstioStatsFilter:
    def __init__(self, config: IstioStats, context: FilterContext) -> None:
        self._inbound = context.inbound
        self._own_uri = context.own_uri
        self._me = peer(context.node_metadata)
        self._is_gateway = faces_strangers(context.node_id, context.node_metadata)
        self._by_host = config.host_fallback
        self._metrics = Metrics(HTTP_METRICS, config.overrides, context.stats)
        values: tuple[Callable[[FilterStream], str], ...] = tuple(
            [of_requests(one, context) for one in self._metrics.expressions]
        )
        self._values = values
        self._known: dict[_Parts, Series] = {}
        self._labelled = context.stats.labelled
        self._known_when = self._labelled.forgotten
        self._services: dict[str, tuple[object, str, str]] = {}
        self._hooks = Hooks(at_end=self._count)

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        return self._hooks

    def _count(self, stream: FilterStream) -> None:
        request = stream.request
        kind = request.headers.get(b"content-type")
        grpc = kind is not None and (kind == GRPC or kind.startswith(_GRPC_OF))
        service, service_name = self._service(stream.cluster, request.authority)
        values = tuple([of(stream) for of in self._values]) if self._values else ()
        known, endpoint, theirs, mine = self._ends(stream)
        key = (
            service,
            service_name,
            known,
            endpoint,
            theirs,
            mine,
            stream.status,
            stream.flags,
            grpc,
            _grpc_status(stream) if grpc else "",
            values,
        )
        if self._known_when != self._labelled.forgotten:  # some may count where nobody looks
            self._known.clear()
            self._known_when = self._labelled.forgotten
        series = self._known.get(key)
        if series is None:
            series = self._make(Key(*key))
        series.requests.value += 1
        series.took_ms((stream.ended - stream.started) * 1000)
        series.asked_bytes(stream.body_received + _size(request.headers))
        response = stream.response
        head_bytes = 0 if response is None else _size(response.headers)
        series.answered_bytes(stream.bytes_sent + head_bytes)
        if grpc and series.asked_messages is not None and series.answered_messages is not None:
            call = stream.filter_state.get(GRPC_STATE)
            if isinstance(call, Call):
                series.asked_messages.value += call.requests.count
                series.answered_messages.value += call.responses.count

    def _ends(self, stream: FilterStream) -> tuple[KnownPeer | None, str, str, str]:
        """The peer, and its principal and ours."""
        if self._inbound:
            certificate = stream.info.peer
            theirs = certificate.uri_sans[0] if certificate and certificate.uri_sans else ""
            known: KnownPeer | None = stream.filter_state.get(DOWNSTREAM_PEER)
            return known, "", theirs, self._own_uri if stream.info.tls else ""
        theirs = mine = endpoint = ""
        tls = stream.upstream_tls
        if tls is not None:
            if tls.peer is not None and tls.peer.uri_sans:
                theirs = tls.peer.uri_sans[0]
            if tls.own is not None and tls.own.uri_sans:
                mine = tls.own.uri_sans[0]
        known = stream.filter_state.get(UPSTREAM_PEER)
        host = stream.host
        if known is None and host is not None and host.metadata:
            said = host.metadata.get("istio")
            endpoint = str(said.get("workload") or "") if said else ""
        return known, endpoint, theirs, mine

    def _service(self, cluster: ClusterView | None, authority: bytes) -> tuple[str, str]:
        """A cluster that says of itself what it serves need not be asked twice."""
        if cluster is not None:
            found = self._services.get(cluster.name)
            if found is not None and found[0] is cluster.metadata:
                return found[1], found[2]
        text = authority[:MAX_VALUE_CHARACTERS].decode("latin-1") if self._by_host else ""
        service, name = service_of(cluster, text)
        if cluster is not None and (not text or service != text):
            if len(self._services) >= MAX_KNOWN:
                self._services.clear()
            self._services[cluster.name] = (cluster.metadata, service, name)
        return service, name

    # ------------------------------------------------------------------ labels

    def _make(self, key: Key) -> Series:
        metrics = self._metrics
        labels, values = self._labels(key), key.values
        stranger = self._is_gateway or (self._inbound and not key.theirs)
        messages = None
        if key.grpc:
            messages = (
                metrics.counter("request_messages_total", labels, values, stranger),
                metrics.counter("response_messages_total", labels, values, stranger),
            )
        found = Series(
            metrics.counter("requests_total", labels, values, stranger, metrics.overflow()),
            metrics.recorder("request_duration_milliseconds", labels, values, stranger),
            metrics.recorder("request_bytes", labels, values, stranger),
            metrics.recorder("response_bytes", labels, values, stranger),
            messages,
        )
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[key] = found
        return found

    def _labels(self, key: Key) -> Labels:
        them = NOBODY
        if key.known is not None:
            them = key.known.peer
        elif key.endpoint:
            them = of_endpoint(key.endpoint)
        labels = of_ends(self._inbound, self._me, them, key.mine, key.theirs)
        labels += of_service(self._inbound, self._me, them, key)
        policy = UNKNOWN
        if self._inbound:
            policy = "mutual_tls" if key.theirs and key.mine else "none"
        return (
            *labels,
            ("request_protocol", "grpc" if key.grpc else "http"),
            ("response_code", str(key.status)),
            ("grpc_response_status", key.grpc_status),
            ("response_flags", key.flags or "-"),
            ("connection_security_policy", policy),
        )


def of_ends(inbound: bool, me: Peer, them: Peer, mine: str, theirs: str) -> Labels:
    if inbound:
        source = workload_labels("source", them, theirs)
        destination = workload_labels("destination", me, mine)
    else:
        source = workload_labels("source", me, mine)
        destination = workload_labels("destination", them, theirs)
    return (("reporter", "destination" if inbound else "source"), *source, *destination)


def of_service(inbound: bool, me: Peer, them: Peer, key: Key) -> Labels:
    """Of a service that nobody named, the one at its end is told by the destination only."""
    if inbound:
        host = key.service or me.canonical_service
        return service_labels(host, key.service_name or me.canonical_service, me.namespace)
    namespace = namespace_of(key.theirs) or them.namespace
    return service_labels(key.service, key.service_name, namespace)


def _grpc_status(stream: FilterStream) -> str:
    """'' where the answer does not say."""
    value = None
    if stream.response_trailers is not None:
        value = stream.response_trailers.get(b"grpc-status")
    if value is None and stream.response is not None:
        value = stream.response.headers.get(b"grpc-status")
    return value.decode() if value is not None and value.isdigit() and len(value) < 4 else ""


def _size(headers: Headers) -> int:
    """As HTTP/1 writes them; the template has two bytes for each value."""
    size_bytes = len(headers.shape.template)
    for value in headers.values:  # compiled it is a quarter of what joining them costs
        size_bytes += len(value) - 2
    return size_bytes
