"""What a route does to a request on its way: Envoy's `finalizeRequestHeaders`.

In this order: the expected timeout and the number of the attempt, header mutations, host, path.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.compile.edits import Edit
from proxy.compile.routes.place import Place
from proxy.config.model import RouteAction, WeightedCluster
from proxy.http.headers import Edit as HeaderEdit
from proxy.http.message import Request
from proxy.l7.stream import Stream
from proxy.route.rewrite import path_rewrite
from proxy.route.substitute import substitute

EXPECTED_TIMEOUT = b"x-envoy-expected-rq-timeout-ms"
ATTEMPT_COUNT = b"x-envoy-attempt-count"
ORIGINAL_PATH = b"x-envoy-original-path"
ORIGINAL_HOST = b"x-envoy-original-host"
FORWARDED_HOST = b"x-forwarded-host"

# Shared by all routes: what they know of shapes is the same, and with thousands of routes a lot.
_count_attempts = HeaderEdit(names=(ATTEMPT_COUNT,))
_expect = HeaderEdit(names=(EXPECTED_TIMEOUT,))
_expect_nothing = HeaderEdit(remove=(EXPECTED_TIMEOUT,))

Rewrite = Callable[[Stream], None]
HostOf = Callable[[Request], bytes | None]


def request_rewrite(
    place: Place, action: RouteAction, edit: Edit | None, weighted: WeightedCluster | None
) -> Rewrite:
    """edit: of all levels."""
    steps: list[Rewrite] = []
    if place.context.envoy_headers:
        steps.append(_tell_timeout)
    if place.host.include_request_attempt_count:
        steps.append(_tell_attempt)
    if weighted is not None and weighted.host_rewrite:
        steps.append(_weighted_host(weighted.host_rewrite.encode()))
    if edit is not None:
        steps.append(lambda stream: edit(stream, stream.request.headers))
    host_of = _host(action)
    if host_of is not None:
        steps.append(_rewrite_host(host_of, place, action))
    new_path = path_rewrite(place.route.match, action)
    if new_path is not None:
        steps.append(_rewrite_path(new_path, place.context.envoy_headers))
    return _together(steps)


def _together(steps: list[Rewrite]) -> Rewrite:
    if len(steps) == 1:
        return steps[0]

    def apply(stream: Stream) -> None:
        for step in steps:
            step(stream)

    return apply


def _tell_timeout(stream: Stream) -> None:
    """`x-envoy-expected-rq-timeout-ms`: how long the upstream has, unless a retry follows."""
    timeout_s = stream.timeout_s
    if stream.has_extras and not stream.may_hedge:
        timeout_s = stream.per_try_timeout_s or timeout_s
    if timeout_s:
        _expect.apply(stream.request.headers, (b"%d" % (timeout_s * 1000),))
    else:
        _expect_nothing.apply(stream.request.headers)


def _tell_attempt(stream: Stream) -> None:
    _count_attempts.apply(stream.request.headers, (b"%d" % (stream.attempt or 1),))


# --------------------------------------------------------------------------- host


def _weighted_host(host: bytes) -> Rewrite:
    """Envoy tells nobody of this one, and mutations see it already."""

    def apply(stream: Stream) -> None:
        stream.request.authority = host

    return apply


def _host(action: RouteAction) -> HostOf | None:
    if action.host_rewrite:
        fixed = action.host_rewrite.encode()
        return lambda _: fixed
    if action.host_rewrite_header:
        name = action.host_rewrite_header.lower().encode()
        return lambda request: request.headers.get(name)
    if action.host_rewrite_path_regex is not None:
        apply = substitute(action.host_rewrite_path_regex)
        return lambda request: apply(request.path.partition(b"?")[0])
    return None


def _rewrite_host(host_of: HostOf, place: Place, action: RouteAction) -> Rewrite:
    appends, tells = action.append_x_forwarded_host, place.context.envoy_headers

    def apply(stream: Stream) -> None:
        new = host_of(stream.request)
        if new:
            _set_host(stream.request, new, appends, tells)

    return apply


def _set_host(request: Request, new: bytes, appends: bool, tells: bool) -> None:
    """The old host stands in `x-envoy-original-host`, and last in `x-forwarded-host`."""
    old, headers = request.authority, request.headers
    if tells:
        headers.set(ORIGINAL_HOST, old)
    if appends:
        known = headers.joined(FORWARDED_HOST)
        if not known:
            headers.set(FORWARDED_HOST, old)
        elif known.rpartition(b",")[2] != old:
            headers.set(FORWARDED_HOST, known + b"," + old)
    request.authority = new


# --------------------------------------------------------------------------- path


def _rewrite_path(new_path: Callable[[bytes], bytes], tells: bool) -> Rewrite:
    def apply(stream: Stream) -> None:
        request = stream.request
        path = new_path(request.path)
        if not path:  # Envoy leaves the path alone then
            return
        if tells:
            request.headers.set(ORIGINAL_PATH, request.path)
        request.path = path

    return apply


# --------------------------------------------------------------------------- each attempt


def before_send(place: Place, action: RouteAction) -> Rewrite | None:
    """What differs between attempts."""
    counts = place.host.include_request_attempt_count
    auto, appends = action.auto_host_rewrite, action.append_x_forwarded_host
    tells = place.context.envoy_headers
    if not counts and not auto:
        return None

    def apply(stream: Stream) -> None:
        if counts and stream.attempt > 1:
            _tell_attempt(stream)
        host = stream.host
        if auto and host is not None and host.hostname:
            _set_host(stream.request, host.hostname.encode(), appends, tells)

    return apply
