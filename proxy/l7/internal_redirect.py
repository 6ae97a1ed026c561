"""Redirects of an upstream that the proxy follows itself (`InternalRedirectPolicy`).

    kept answer -> may it be followed? -> the request made anew -> routed -> a second leg

The second leg is the same stream, begun again: it walks the filters of its new route. Only a
request that is whole, with its body kept, can be sent again. What may not be followed goes to the
client as it came.
"""

from __future__ import annotations

import re
from time import monotonic
from typing import TYPE_CHECKING

from proxy.config.model import InternalRedirectPolicy
from proxy.http.headers import Headers
from proxy.http.message import Response
from proxy.l7.resolve import resolve

if TYPE_CHECKING:
    from proxy.l7.entry import RouteEntry
    from proxy.l7.stream import Stream

ORIGINAL_URL = b"x-envoy-original-url"
# What may stand in a request's target (RFC 9112 section 3.2): a space would end it.
_URL = re.compile(
    rb"(https?)://([^\x00-\x20/?#\x7f-\xff]+)([^\x00-\x20#\x7f-\xff]*)", re.IGNORECASE
)
SEE_OTHER = 303

_Saved = tuple[bytes, bytes, bytes, Headers]
"""scheme, authority, path and headers of the request as they were."""


class InternalRedirects:
    """The policy of a route. route_name: of the route that it belongs to."""

    __slots__ = ("_policy", "_route_name", "codes")

    def __init__(self, policy: InternalRedirectPolicy, route_name: str) -> None:
        self._policy = policy
        self._route_name = route_name
        self.codes = policy.response_codes

    def follow(self, stream: Stream, response: Response, end: bool) -> bool:
        """True: the request is on its way again, and `response` is nobody's. Its status must be
        one of `codes`. end: it has no body that is still to come."""
        cluster = stream.cluster
        assert cluster is not None
        location = response.headers.get(b"location")
        kept = stream.body is not None or not stream.body_received
        whole = stream.request_done and kept and not stream.tunnels
        saved = self._turn(stream, response, location) if whole and location is not None else None
        if saved is None:
            cluster.stats.add("upstream_internal_redirect_failed_total")
            return False
        cluster.stats.add("upstream_internal_redirect_succeeded_total")
        if not end and stream.up is not None:
            stream.up.abandon(stream)
        _begin_again(stream, response, saved)
        return True

    def _turn(self, stream: Stream, response: Response, location: bytes) -> _Saved | None:
        """The request becomes the one that `location` asks for; None leaves it as it was."""
        policy, stats = self._policy, stream.manager.stats
        found = _URL.fullmatch(location.partition(b"#")[0])
        if found is None:
            stats.passthrough_internal_redirect_bad_location.value += 1
            return None
        request = stream.request
        was_https, is_https = request.scheme == b"https", found[1].lower() == b"https"
        if was_https != is_https and not policy.allow_cross_scheme:
            stats.passthrough_internal_redirect_unsafe_scheme.value += 1
            return None
        if stream.redirects >= policy.max_internal_redirects:
            stats.passthrough_internal_redirect_too_many_redirects.value += 1
            return None
        kept = Headers(request.headers.shape, request.headers.values)
        saved = (request.scheme, request.authority, request.path, kept)
        self._copy_headers(request.headers, response.headers)
        request.scheme = b"https" if is_https else b"http"
        request.authority = found[2]
        request.path = found[3] if found[3].startswith(b"/") else b"/" + found[3]
        entry = resolve(stream)
        if entry is None:
            stats.passthrough_internal_redirect_no_route.value += 1
        elif self._accepts(stream, entry, was_https, is_https):
            stream.route = entry
            return saved
        else:
            stats.passthrough_internal_redirect_predicate.value += 1
        request.scheme, request.authority, request.path, request.headers = saved
        return None

    def _copy_headers(self, headers: Headers, of: Headers) -> None:
        """`response_headers_to_copy`: those that the answer does not have go."""
        for text in self._policy.headers_to_copy:
            name = text.encode()
            headers.remove(name)
            for value in of.all(name):
                headers.add(name, value)

    def _accepts(self, stream: Stream, entry: RouteEntry, was_https: bool, is_https: bool) -> bool:
        """The predicates, on the route that the request would go by."""
        policy, target = self._policy, entry.name
        if policy.allowed_routes is not None and target not in policy.allowed_routes:
            return False
        if policy.safe_cross_scheme and is_https and not was_https:
            return False
        if policy.not_previous_routes:
            step = (self._route_name, target)
            if step in stream.followed:
                return False
            stream.followed = (*stream.followed, step)
        return True


def _begin_again(stream: Stream, response: Response, saved: _Saved) -> None:
    """The first leg ends here, and is logged; the second begins."""
    request = stream.request
    body = stream.body
    if response.status == SEE_OTHER and request.method not in (b"GET", b"HEAD"):
        request.method = b"GET"  # RFC 9110 section 15.4.4
        request.headers.remove(b"content-length")
        request.length = 0
        body = stream.trailers = None
    scheme, authority, path, _ = saved
    request.headers.set(ORIGINAL_URL, b"%b://%b%b" % (scheme, authority, path))
    _end_leg(stream, response)
    stream.begin_again(body or None)


def _end_leg(stream: Stream, response: Response) -> None:
    """It is logged with the request as it goes on, and with the cluster that it goes on to."""
    assert stream.route is not None
    stream.cluster = stream.route.choose(stream)
    stream.response = response
    stream.status = response.status
    stream.detail = "internal_redirect"
    stream.ended = monotonic()
    for at_end in stream.chain.at_end:
        at_end(stream)
    stream.manager.on_leg_end(stream)
