"""Facts of the upstream side of a stream: whom it asked, from where, how often.

Each takes a stream and returns text ('' is missing) or a number. Knows no format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from proxy.connection import PeerCertificate, Secured
from proxy.l7.client_cert import pem

if TYPE_CHECKING:
    from proxy.l7.logged import Logged
    from proxy.upstream.cluster import Cluster

Address = tuple[str, int]


def cluster(stream: Logged) -> Cluster | None:
    """Whom the router asked, or would have asked had no filter answered."""
    if stream.cluster is not None or stream.route is None:
        return stream.cluster
    return stream.route.choose(stream)


def _cluster_name(stream: Logged) -> str:
    found = stream.cluster or cluster(stream)
    return "" if found is None else found.config.alt_stat_name or found.name


def _raw_cluster_name(stream: Logged) -> str:
    found = cluster(stream)
    return "" if found is None else found.name


def _host(stream: Logged) -> str:
    return "" if stream.host is None else stream.host.text


def _host_name(stream: Logged) -> str:
    host = stream.host
    return "" if host is None else host.hostname or host.text


def _host_name_without_port(stream: Logged) -> str:
    host = stream.host
    return "" if host is None else host.hostname or host.address.host


def _attempted(of: Callable[[Logged], str]) -> Callable[[Logged], str]:
    """Of every host that was tried, in order."""

    def fact(stream: Logged) -> str:
        tried = stream.tried or ()
        names = [one.text for one in tried if one is not stream.host]
        return ",".join([*names, of(stream)]) if stream.host is not None else ""

    return fact


def local_address(stream: Logged) -> Address | None:
    """Our own end of the last connection that the stream had."""
    return None if stream.last_up is None else stream.last_up.local


def remote_address(stream: Logged) -> Address | None:
    if stream.last_up is None or stream.last_up.host.address.path:
        return None
    address = stream.last_up.host.address
    return address.host, address.port


def _protocol(stream: Logged) -> str:
    return "" if stream.last_up is None else stream.last_up.protocol


def _secured(field: Callable[[Secured], str]) -> Callable[[Logged], str]:
    def fact(stream: Logged) -> str:
        secured = None if stream.last_up is None else stream.last_up.secured
        return "" if secured is None else field(secured)

    return fact


def upstream_peer(stream: Logged) -> PeerCertificate | None:
    """The host's certificate."""
    secured = None if stream.last_up is None else stream.last_up.secured
    return None if secured is None else secured.peer


def _of_peer(field: Callable[[PeerCertificate], str]) -> Callable[[Logged], str]:
    return _secured(lambda tls: "" if tls.peer is None else field(tls.peer))


def _of_ours(field: Callable[[PeerCertificate], str]) -> Callable[[Logged], str]:
    return _secured(lambda tls: "" if tls.own is None else field(tls.own))


UPSTREAM_ADDRESSES: Mapping[str, Callable[[Logged], Address | None]] = {
    "UPSTREAM_LOCAL": local_address,
    "UPSTREAM_REMOTE": remote_address,
}
UPSTREAM_TEXTS: Mapping[str, Callable[[Logged], str]] = {
    "UPSTREAM_CLUSTER": _cluster_name,
    "UPSTREAM_CLUSTER_RAW": _raw_cluster_name,
    "UPSTREAM_HOST": _host,
    "UPSTREAM_HOST_NAME": _host_name,
    "UPSTREAM_HOST_NAME_WITHOUT_PORT": _host_name_without_port,
    "UPSTREAM_HOSTS_ATTEMPTED": _attempted(_host),
    "UPSTREAM_LOCAL_DNS_SAN": _of_ours(lambda own: ",".join(own.dns_sans)),
    "UPSTREAM_LOCAL_IP_SAN": _of_ours(lambda own: ",".join(own.ip_sans)),
    "UPSTREAM_LOCAL_URI_SAN": _of_ours(lambda own: ",".join(own.uri_sans)),
    "UPSTREAM_PEER_CERT": _of_peer(lambda peer: quote(pem(peer.der), safe="")),
    "UPSTREAM_PEER_DNS_SAN": _of_peer(lambda peer: ",".join(peer.dns_sans)),
    "UPSTREAM_PEER_IP_SAN": _of_peer(lambda peer: ",".join(peer.ip_sans)),
    "UPSTREAM_PEER_ISSUER": _of_peer(lambda peer: peer.issuer),
    "UPSTREAM_PEER_SUBJECT": _of_peer(lambda peer: peer.subject),
    "UPSTREAM_PEER_URI_SAN": _of_peer(lambda peer: ",".join(peer.uri_sans)),
    "UPSTREAM_PROTOCOL": _protocol,
    "UPSTREAM_TLS_CIPHER": _secured(lambda tls: tls.cipher),
    "UPSTREAM_TLS_GROUP": _secured(lambda tls: tls.told("group")),
    "UPSTREAM_TLS_SESSION_ID": _secured(lambda tls: tls.told("session_id")),
    "UPSTREAM_TLS_VERSION": _secured(lambda tls: tls.version),
    "UPSTREAM_TRANSPORT_FAILURE_REASON": lambda stream: stream.failure.replace(" ", "_"),
}
"""'' is missing."""
