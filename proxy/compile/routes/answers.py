"""Routes that answer by themselves: redirects, direct responses, and plaintext sent to https."""

from __future__ import annotations

from collections.abc import Callable

from proxy.compile.routes.place import Place
from proxy.config.model import DirectResponse, RedirectAction
from proxy.filters.api import Reply
from proxy.l7.entry import RouteEntry
from proxy.l7.local_body import compile_body
from proxy.l7.stream import Stream
from proxy.route.redirect import redirect_rewrite, redirect_target

ORIGINAL_PATH = b"x-envoy-original-path"
DETAIL = "direct_response"

Answer = Callable[[Stream], Reply]


def redirect(place: Place, action: RedirectAction) -> Answer:
    """The path is rewritten in the request itself, as the log then shows (Envoy)."""
    rewrite = redirect_rewrite(action, place.route.match)
    target = redirect_target(action)
    tells = place.context.envoy_headers

    def answer(stream: Stream) -> Reply:
        request = stream.request
        if rewrite is not None and (path := rewrite(request.path)):
            if tells:
                request.headers.set(ORIGINAL_PATH, request.path)
            request.path = path
        return Reply(action.status, b"", "", DETAIL, ((b"location", target(request)),))

    return answer


def direct_response(place: Place, action: DirectResponse) -> Answer:
    """Envoy adds a `location` of the request itself to a 201 or 3xx."""
    points = action.status == 201 or 300 <= action.status < 400
    itself = redirect_target(RedirectAction())
    plain = Reply(action.status, action.body, "", DETAIL)
    if action.body_format is None and not points:
        return lambda _: plain
    body_of = None if action.body_format is None else compile_body(action.body_format)

    def answer(stream: Stream) -> Reply:
        location = ((b"location", itself(stream.request)),) if points else ()
        reply = Reply(action.status, action.body, "", DETAIL, location)
        if body_of is not None:
            stream.flag("", DETAIL)
            reply = body_of(stream, reply)
        return reply

    return answer


def to_https(virtual_host: str) -> RouteEntry:
    """`require_tls`."""

    def answer(stream: Stream) -> Reply:
        request = stream.request
        location = b"https://%b%b" % (request.authority, request.path)
        return Reply(301, b"", "", DETAIL, ((b"location", location),))

    entry = RouteEntry("", answer)
    entry.virtual_host = virtual_host
    return entry
