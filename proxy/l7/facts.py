"""Plain facts of a stream, as the access log and header values tell them.

Each takes a stream and returns text ('' is missing) or a number. Knows no format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha1, sha256
from ipaddress import ip_address, ip_network
from time import monotonic, time
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import uuid4

from proxy.connection import PeerCertificate
from proxy.l7.client_cert import pem
from proxy.l7.extra_stats import virtual_cluster_name
from proxy.l7.sizes import SIZES
from proxy.l7.timing import duration_ms
from proxy.l7.upstream_facts import UPSTREAM_TEXTS

if TYPE_CHECKING:
    from proxy.l7.logged import Logged
    from proxy.tracing.span import Span

FLAG_NAMES: Mapping[str, str] = {
    "DC": "DownstreamConnectionTermination", "DF": "DnsResolutionFailed", "DI": "DelayInjected",
    "DO": "DropOverload", "DPE": "DownstreamProtocolError", "DR": "DownstreamRemoteReset",
    "DT": "DurationTimeout", "FI": "FaultInjected", "IH": "InvalidEnvoyRequestHeaders",
    "LH": "FailedLocalHealthCheck", "LR": "LocalReset", "NC": "NoClusterFound",
    "NFCF": "NoFilterConfigFound", "NR": "NoRouteFound", "OM": "OverloadManagerTerminated",
    "RFCF": "ResponseFromCacheFilter", "RL": "RateLimited", "RLSE": "RateLimitServiceError",
    "SI": "StreamIdleTimeout", "UAEX": "UnauthorizedExternalService",
    "UC": "UpstreamConnectionTermination", "UDO": "UnconditionalDropOverload",
    "UF": "UpstreamConnectionFailure", "UH": "NoHealthyUpstream",
    "UMSDR": "UpstreamMaxStreamDurationReached", "UO": "UpstreamOverflow",
    "UPE": "UpstreamProtocolError", "UR": "UpstreamRemoteReset",
    "URX": "UpstreamRetryLimitExceeded", "UT": "UpstreamRequestTimeout",
}  # fmt: skip

FORWARDED_FOR = b"x-forwarded-for"
_SCOPE = re.compile(r"[0-9]{1,10}")
_MAX_SCOPE = 0xFFFFFFFF
Address = tuple[str, int]


def forwarded_remote(stream: Logged) -> Address:
    """The client's address as far as `x-forwarded-for` is trusted, else the connection's.

    Envoy's rule: at the edge (`use_remote_address`) the peer is the client unless trusted hops
    stand before us; inside, the last entry is, with port 0."""
    config = stream.manager.config
    info = stream.down.info
    hops = config.xff_num_trusted_hops
    if config.use_remote_address and not hops:
        return info.remote
    headers = stream.request.headers
    if FORWARDED_FOR not in headers.shape.index:
        return info.remote
    known = headers.joined(FORWARDED_FOR) or b""
    # At the edge the peer's own address has been appended by now.
    back = hops if config.use_remote_address and config.skip_xff_append else hops + 1
    return _entry(known, back) or info.remote


@lru_cache(1024)
def _entry(known: bytes, back: int) -> Address | None:
    """The entry of `x-forwarded-for` that stands `back` from the end, if it is an address."""
    entries = known.split(b",")
    address = _ip(entries[-back]) if len(entries) >= back else ""
    return (address, 0) if address else None


def _ip(text: bytes) -> str:
    """An address in its usual spelling; '' if it is none. Of scopes (RFC 4007 section 11) only a
    number counts, as names of interfaces are another machine's."""
    host, percent, scope = text.decode("latin-1").strip().partition("%")
    try:
        address = str(ip_address(host))
    except ValueError:
        return ""
    if not percent:
        return address
    if ":" not in host or _SCOPE.fullmatch(scope) is None or int(scope) > _MAX_SCOPE:
        return ""
    return f"{address}%{int(scope)}" if int(scope) else address


@lru_cache(1024)
def address_text(address: Address) -> str:
    """`host:port`, `[host]:port` for IPv6."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(1024)
def network(host: str, bits: int) -> str:
    """`host` masked to `bits`, in CIDR notation; '' if that is more than it has."""
    try:
        return str(ip_network((host, bits), strict=False))
    except ValueError:
        return ""


ADDRESSES: Mapping[str, Callable[[Logged], Address]] = {
    "DOWNSTREAM_REMOTE": forwarded_remote,
    "DOWNSTREAM_DIRECT_REMOTE": lambda stream: stream.down.info.remote,
    "DOWNSTREAM_LOCAL": lambda stream: stream.down.info.local,
    "DOWNSTREAM_DIRECT_LOCAL": lambda stream: stream.down.info.direct_local,
}


def _full(of: Callable[[Logged], Address]) -> Callable[[Logged], str]:
    return lambda stream: address_text(of(stream))


def _port(of: Callable[[Logged], Address]) -> Callable[[Logged], int]:
    return lambda stream: of(stream)[1]


# ---------------------------------------------------------------------------- time

_offset_s = 0.0
_checked_s = 0.0  # monotonic


def wall_time(monotonic_s: float) -> float:
    """Seconds since the epoch when the monotonic clock said so. The same each time it is asked,
    until the wall clock is set by more than a millisecond, which is noticed within a second."""
    global _offset_s, _checked_s
    if abs(monotonic_s - _checked_s) > 1.0:
        _checked_s = monotonic()
        offset = time() - _checked_s
        if abs(offset - _offset_s) > 0.001:
            _offset_s = offset
    return monotonic_s + _offset_s


# ---------------------------------------------------------------------------- tables


def _peer(field: Callable[[PeerCertificate], str]) -> Callable[[Logged], str]:
    def fact(stream: Logged) -> str:
        peer = stream.down.info.peer
        return "" if peer is None else field(peer)

    return fact


def _told(what: str) -> Callable[[Logged], str]:
    return lambda stream: stream.down.info.told(what)


def _own(field: Callable[[PeerCertificate], str]) -> Callable[[Logged], str]:
    def fact(stream: Logged) -> str:
        own = stream.down.info.own
        return "" if own is None else field(own)

    return fact


def _of_chain(digest: Callable[[bytes], str]) -> Callable[[Logged], str]:
    """Of each certificate that the client has shown, its own first."""

    def fact(stream: Logged) -> str:
        info = stream.down.info
        if info.peer is None:
            return ""
        return ",".join(map(digest, (info.peer.der, *info.peer_chain())))

    return fact


def _serial(der: bytes) -> str:
    from proxy.tls.peer import certificate_facts  # a plaintext proxy has no use for it

    return certificate_facts(der).serial


def _long_flags(stream: Logged) -> str:
    return ",".join(FLAG_NAMES.get(flag, flag) for flag in stream.flags.split(","))


def _own_uri(stream: Logged) -> str:
    uri: bytes = stream.manager.own_uri
    return uri.decode()


def _of_span(field: Callable[[Span], str]) -> Callable[[Logged], str]:
    """Also of a request that is not sampled."""

    def fact(stream: Logged) -> str:
        span = None if stream.traced is None else stream.traced.span
        return "" if span is None else field(span)

    return fact


def never(stream: Logged) -> str:
    """For what an HTTP stream here never has: Envoy, too, says '-' then."""
    return ""


NUMBERS: Mapping[str, Callable[[Logged], int | str]] = {
    "BYTES_RECEIVED": lambda stream: stream.bytes_received,
    "BYTES_SENT": lambda stream: stream.bytes_sent,
    "DURATION": duration_ms,
    **SIZES,
    "RESPONSE_CODE": lambda stream: stream.status,
    "RESPONSE_FLAGS": lambda stream: stream.flags or "-",
    "RESPONSE_FLAGS_LONG": lambda stream: _long_flags(stream) or "-",
    "PROTOCOL": lambda stream: stream.request.version.decode(),
    "UNIQUE_ID": lambda stream: str(uuid4()),
    # A request's first attempt begins when a host is looked for, a connection's at one (Envoy).
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": lambda stream: (
        stream.attempt or int(stream.cluster is not None and stream.status != 0)
    ),
    **{f"{name}_PORT": _port(of) for name, of in ADDRESSES.items()},
}
"""Those that are always there, and never of a peer's making."""

TEXTS: Mapping[str, Callable[[Logged], str]] = {
    "ACCESS_LOG_TYPE": lambda stream: stream.log_type,
    "CONNECTION_TERMINATION_DETAILS": lambda stream: stream.down.info.termination,
    "DOWNSTREAM_LOCAL_DNS_SAN": _own(lambda own: ",".join(own.dns_sans)),
    "DOWNSTREAM_LOCAL_EMAIL_SAN": _own(lambda own: ",".join(own.email_sans)),
    "DOWNSTREAM_LOCAL_IP_SAN": _own(lambda own: ",".join(own.ip_sans)),
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN": _own(lambda own: ",".join(own.other_sans)),
    "DOWNSTREAM_LOCAL_SUBJECT": _own(lambda own: own.subject),
    "DOWNSTREAM_LOCAL_URI_SAN": _own_uri,
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1": _of_chain(lambda der: sha1(der).hexdigest()),
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256": _of_chain(lambda der: sha256(der).hexdigest()),
    "DOWNSTREAM_PEER_CHAIN_SERIALS": _of_chain(_serial),
    "DOWNSTREAM_PEER_CERT": _peer(lambda peer: quote(pem(peer.der), safe="")),
    "DOWNSTREAM_PEER_DNS_SAN": _peer(lambda peer: ",".join(peer.dns_sans)),
    "DOWNSTREAM_PEER_EMAIL_SAN": _peer(lambda peer: ",".join(peer.email_sans)),
    "DOWNSTREAM_PEER_FINGERPRINT_1": _peer(lambda peer: sha1(peer.der).hexdigest()),
    "DOWNSTREAM_PEER_FINGERPRINT_256": _peer(lambda peer: peer.sha256),
    "DOWNSTREAM_PEER_IP_SAN": _peer(lambda peer: ",".join(peer.ip_sans)),
    "DOWNSTREAM_PEER_ISSUER": _peer(lambda peer: peer.issuer),
    "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256": _told("issuer_sha256"),
    "DOWNSTREAM_PEER_ISSUER_SERIAL": _told("issuer_serial"),
    "DOWNSTREAM_PEER_OTHERNAME_SAN": _peer(lambda peer: ",".join(peer.other_sans)),
    "DOWNSTREAM_PEER_SERIAL": _peer(lambda peer: peer.serial),
    "DOWNSTREAM_PEER_SUBJECT": _peer(lambda peer: peer.subject),
    "DOWNSTREAM_PEER_URI_SAN": _peer(lambda peer: ",".join(peer.uri_sans)),
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON": lambda stream: stream.down.info.failure,
    "DOWNSTREAM_TLS_CIPHER": lambda stream: stream.down.info.cipher,
    "DOWNSTREAM_TLS_GROUP": _told("group"),
    "DOWNSTREAM_TLS_SESSION_ID": _told("session_id"),
    "DOWNSTREAM_TLS_VERSION": lambda stream: stream.down.info.tls_version,
    "FILTER_CHAIN_NAME": lambda stream: stream.down.info.filter_chain,
    "TLS_JA3_FINGERPRINT": lambda stream: stream.down.info.ja3,
    "TLS_JA4_FINGERPRINT": lambda stream: stream.down.info.ja4,
    "ROUTE_NAME": lambda stream: "" if stream.route is None else stream.route.name,
    "SPAN_ID": _of_span(lambda span: span.span_id),
    "TRACE_ID": _of_span(lambda span: span.trace_id),
    "VIRTUAL_CLUSTER_NAME": virtual_cluster_name,
    **UPSTREAM_TEXTS,
    **{f"{name}_ADDRESS": _full(of) for name, of in ADDRESSES.items()},
}
"""'' is missing."""
