"""`istio.stats` of a TCP filter chain: Istio's metrics of its connections.

    opened (once the host is connected) -> bytes, every few seconds -> the rest of them, closed

Labels are those of the beginning, so that a connection is counted in one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.filters.decode_istio_stats import TCP_METRICS
from proxy.config.filters.decode_peer_metadata import peer
from proxy.config.model.istio import UNKNOWN, IstioStats
from proxy.filters.istio_labels import (
    NOBODY,
    namespace_of,
    of_endpoint,
    service_labels,
    service_of,
    workload_labels,
)
from proxy.filters.istio_metrics import Metrics, faces_strangers
from proxy.filters.istio_values import of_connection
from proxy.stats import Held

if TYPE_CHECKING:
    from proxy.config.model import Node
    from proxy.connection import Secured
    from proxy.l4.record import ConnectionRecord
    from proxy.stats import Counter, Labels, Stats


class Metered:
    """What is told of one connection, and how much of it was. due: when bytes are told again. Its
    samples are not forgotten before it has ended."""

    __slots__ = ("_closed", "_held", "_received", "_received_told", "_sent", "_sent_told", "due")

    def __init__(self, opened: Counter, sent: Counter, received: Counter, closed: Counter) -> None:
        self._sent = sent
        self._received = received
        self._closed = closed
        self._held = [one for one in (opened, sent, received, closed) if isinstance(one, Held)]
        for one in self._held:
            one.held += 1
        self._sent_told = self._received_told = 0
        self.due = 0.0

    def tell(self, record: ConnectionRecord) -> None:
        """sent: by us to the client, as Envoy counts downstream."""
        self._sent.value += record.bytes_sent - self._sent_told
        self._received.value += record.bytes_received - self._received_told
        self._sent_told, self._received_told = record.bytes_sent, record.bytes_received

    def end(self, record: ConnectionRecord) -> None:
        self.tell(record)
        self._closed.value += 1
        for one in self._held:
            one.held -= 1
        self._held.clear()


class Meter:
    """Of one filter chain. inbound: of what comes into the workload."""

    def __init__(
        self, config: IstioStats, stats: Stats, node: Node, own_uri: bytes, inbound: bool
    ) -> None:
        self.interval_s = config.interval_s
        self._inbound = inbound
        self._own_uri = own_uri.decode()
        self._node = node
        self._me = peer(node.metadata)
        self._is_gateway = faces_strangers(node.id, node.metadata)
        self._metrics = Metrics(TCP_METRICS, config.overrides, stats)

    def begin(self, record: ConnectionRecord, tls: Secured | None, now: float) -> Metered:
        """tls: of the connection to the host. Too many labels: the connection is counted as one
        that stands nowhere else."""
        metrics = self._metrics
        theirs, mine = self._principals(record, tls)
        labels = self._labels(record, theirs, mine)
        values = tuple([of_connection(one, record, self._node) for one in metrics.expressions])
        stranger = self._is_gateway or (self._inbound and not theirs)
        opened = metrics.counter(
            "tcp_connections_opened_total", labels, values, stranger, metrics.overflow()
        )
        opened.value += 1
        found = Metered(
            opened,
            metrics.counter("tcp_sent_bytes_total", labels, values, stranger),
            metrics.counter("tcp_received_bytes_total", labels, values, stranger),
            metrics.counter("tcp_connections_closed_total", labels, values, stranger),
        )
        found.due = now + self.interval_s
        return found

    def _labels(self, record: ConnectionRecord, theirs: str, mine: str) -> Labels:
        host, name = service_of(record.cluster, "")
        me, them, policy = self._me, NOBODY, UNKNOWN
        if self._inbound:
            source = workload_labels("source", them, theirs)
            destination = workload_labels("destination", me, mine)
            service = service_labels(
                host or me.canonical_service, name or me.canonical_service, me.namespace
            )
            policy = "mutual_tls" if theirs and mine else "none"
        else:
            said = record.host.metadata.get("istio") if record.host is not None else None
            them = of_endpoint(str(said.get("workload") or "")) if said else them
            source = workload_labels("source", me, mine)
            destination = workload_labels("destination", them, theirs)
            service = service_labels(host, name, namespace_of(theirs) or them.namespace)
        return (
            ("reporter", "destination" if self._inbound else "source"),
            *source,
            *destination,
            *service,
            ("request_protocol", "tcp"),
            ("response_flags", record.flags or "-"),
            ("connection_security_policy", policy),
        )

    def _principals(self, record: ConnectionRecord, tls: Secured | None) -> tuple[str, str]:
        """The peer's and ours."""
        info = record.down.info
        if self._inbound:
            certificate = info.peer
            mine = self._own_uri if info.tls else ""
        else:
            certificate = tls.peer if tls is not None else None
            own = tls.own if tls is not None else None
            mine = own.uri_sans[0] if own is not None and own.uri_sans else ""
        return (certificate.uri_sans[0] if certificate and certificate.uri_sans else ""), mine
