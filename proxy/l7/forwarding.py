"""What a connection manager does to every request head: `x-forwarded-*`, request id, client cert.

Envoy's rules (its header documentation, "HTTP header manipulation"). What it means for a block of
given names is found once per shape; a request then costs one look-up and one tuple.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from proxy.config.model import HttpConnectionManager
from proxy.connection import ConnectionInfo
from proxy.http.headers import Headers, Pick, Shape, edited_shape, remember
from proxy.http.message import Request
from proxy.l7.client_cert import forwarded_client_cert
from proxy.l7.sampling import REQUEST_ID, bear
from proxy.match import within

MAX_KNOWN = 512
SCHEMES = (b"http", b"https")
XFCC = b"x-forwarded-client-cert"
# Taken from everybody who is not known to be inside: a client must not steer the router or speak
# for the mesh. Nobody is inside unless `internal_address_config` says so (Envoy's default).
EXTERNAL_REMOVES = frozenset(
    (b"x-envoy-retriable-status-codes", b"x-envoy-retriable-header-names", b"x-envoy-retry-on",
     b"x-envoy-retry-grpc-on", b"x-envoy-max-retries", b"x-envoy-upstream-alt-stat-name",
     b"x-envoy-upstream-rq-timeout-ms", b"x-envoy-upstream-rq-per-try-timeout-ms",
     b"x-envoy-upstream-rq-timeout-alt-response", b"x-envoy-expected-rq-timeout-ms",
     b"x-envoy-force-trace", b"x-envoy-ip-tags", b"x-envoy-original-url",
     b"x-envoy-hedge-on-per-try-timeout", b"x-envoy-internal")
)  # fmt: skip
EDGE_REMOVES = frozenset(
    (b"x-envoy-decorator-operation", b"x-envoy-downstream-service-cluster",
     b"x-envoy-downstream-service-node", b"x-envoy-external-address")
)  # fmt: skip

# The new shape, what to keep, the x-forwarded-proto to add, and whether a request id is.
Plan = tuple[Shape, Pick | None, tuple[bytes, ...], bool]


class Forwarding:
    """`apply(request, info)` edits the head in place."""

    def __init__(self, config: HttpConnectionManager, own_uri: bytes) -> None:
        self._config = config
        # Who draws by their first digits needs ids that have nothing in common.
        self._ids = request_ids() if config.tracing is None else unpaired_ids()
        self._own_uri = own_uri
        self._edge = config.use_remote_address
        self._known: tuple[dict[Shape, Plan], ...] = ({}, {}, {}, {})  # by TLS + 2 * internal
        self._internal = is_internal(config)
        self._scheme = config.scheme_to_overwrite.encode()
        self._tells_port = config.append_x_forwarded_port
        self._sanitizes = config.forward_client_cert in ("SANITIZE", "SANITIZE_SET")
        self._cert_passes = config.forward_client_cert != "SANITIZE"
        self._clears_reason = config.preserve_external_request_id and config.packs_trace_reason
        self._replaces_id = self._edge and not config.preserve_external_request_id

    def apply(self, request: Request, info: ConnectionInfo) -> None:
        headers = request.headers
        tls = info.tls
        internal = self._internal is not None and self._internal(headers, info)
        kind = tls + 2 * internal if internal else tls
        plan = self._known[kind].get(headers.shape) or self._learn(headers.shape, tls, internal)
        headers.shape, pick, proto, adds_id = plan
        values = headers.values if pick is None else pick(headers.values)
        if adds_id:
            headers.values = (*values, *proto, next(self._ids))
        else:
            headers.values = values + proto
        if proto:
            request.scheme = proto[0]
        else:
            told = headers.joined(b"x-forwarded-proto") or b""
            # It comes to stand in redirects: whatever else it says, it is no scheme (Envoy).
            known = told in SCHEMES or told.lower() in SCHEMES
            request.scheme = told if known else b"https" if tls else b"http"
        if internal:
            headers.set(b"x-envoy-internal", b"true")
        if self._edge:
            self._edge_addresses(headers, info, internal)
        if self._tells_port and b"x-forwarded-port" not in headers:
            headers.add(b"x-forwarded-port", b"%d" % info.local[1])
        if self._cert_passes:
            self._client_cert(headers, info)

    def _learn(self, shape: Shape, tls: bool, internal: bool) -> Plan:
        removes: set[bytes] = set()
        if not internal:
            removes |= EXTERNAL_REMOVES | EDGE_REMOVES if self._edge else EXTERNAL_REMOVES
        if self._sanitizes:
            removes.add(XFCC)
        adds_proto = self._edge and not self._config.xff_num_trusted_hops
        adds_proto = adds_proto or b"x-forwarded-proto" not in shape.index or bool(self._scheme)
        if adds_proto:
            removes.add(b"x-forwarded-proto")
        adds_id = self._config.generate_request_id and (
            (self._replaces_id and not internal) or b"x-request-id" not in shape.index
        )
        if adds_id:
            removes.add(b"x-request-id")
        adds = [b"x-forwarded-proto"] * adds_proto + [b"x-request-id"] * adds_id
        edited, pick = edited_shape(shape, removes, adds)
        proto = (self._scheme or (b"https" if tls else b"http"),) if adds_proto else ()
        known = self._known[tls + 2 * internal]
        return remember(known, shape, shape, (edited, pick, proto, adds_id), MAX_KNOWN)

    def _edge_addresses(self, headers: Headers, info: ConnectionInfo, internal: bool) -> None:
        """`use_remote_address`: the peer's address is believed, and told on."""
        remote = info.remote[0].encode()
        known = headers.joined(b"x-forwarded-for")
        trusted = remote
        hops = self._config.xff_num_trusted_hops
        if hops and known:
            entries = [entry.strip() for entry in known.split(b",")]
            if len(entries) >= hops:
                trusted = entries[-hops]
        if not self._config.skip_xff_append:
            headers.set(b"x-forwarded-for", known + b"," + remote if known else remote)
        if not internal:
            headers.set(b"x-envoy-external-address", trusted)
            if self._clears_reason:
                _clear_reason(headers)

    def _client_cert(self, headers: Headers, info: ConnectionInfo) -> None:
        """`forward_client_cert_details` for a block that has the header or needs it."""
        config = self._config
        mode = config.forward_client_cert
        if mode == "ALWAYS_FORWARD_ONLY":
            return
        if info.peer is None:
            headers.remove(XFCC)  # only mTLS connections may forward it
            return
        if mode == "FORWARD_ONLY":
            return
        own = forwarded_client_cert(
            info.peer, config.client_cert_details, self._own_uri, info.peer_chain
        )
        if mode == "APPEND_FORWARD" and (known := headers.joined(XFCC)):
            own = known + b"," + own
        headers.set(XFCC, own)


def _clear_reason(headers: Headers) -> None:
    """A client's request id is kept, but it does not say whether the mesh makes traces."""
    request_id = headers.get(REQUEST_ID)
    if request_id is not None:
        bear(headers, request_id, "not_traceable")


def is_internal(
    config: HttpConnectionManager,
) -> Callable[[Headers, ConnectionInfo], bool] | None:
    """`internal_address_config`: does the request come from inside? At the edge its peer does and
    names no other client; else the only address of `x-forwarded-for` is (Envoy's rule). None: no
    address is internal."""
    if not config.internal_addresses:
        return None
    inside = within(config.internal_addresses)

    def test(headers: Headers, info: ConnectionInfo) -> bool:
        told = headers.joined(b"x-forwarded-for")
        if config.use_remote_address:
            return told is None and inside(info.remote[0])
        return told is not None and b"," not in told and inside(told.strip().decode("latin-1"))

    return test


def request_ids() -> Iterator[bytes]:
    """Random UUIDs (version 4, RFC 9562 section 5.4). Of 64 random first halves and 64 random
    second ones each pair is used once, which is as unique and costs one concatenation."""
    count = 64
    while True:
        text = os.urandom(16 * count).hex().encode()
        whole = [text[at : at + 32] for at in range(0, len(text), 32)]
        firsts = [b"%b-%b-4%b-" % (one[:8], one[8:12], one[13:16]) for one in whole]
        seconds = [b"a%b-%b" % (one[17:20], one[20:]) for one in whole]
        for first in firsts:
            for second in seconds:
                yield first + second


def unpaired_ids() -> Iterator[bytes]:
    """As `request_ids`, each of random digits of its own."""
    while True:
        text = os.urandom(16 * 64).hex().encode()
        for at in range(0, len(text), 32):
            one = text[at : at + 32]
            yield b"%b-%b-4%b-a%b-%b" % (one[:8], one[8:12], one[13:16], one[17:20], one[20:])
