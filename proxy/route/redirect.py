"""Where a redirect points (`RedirectAction`): functions of the request, compiled per route."""

from __future__ import annotations

from collections.abc import Callable

from proxy.config.model import RedirectAction, RouteMatch
from proxy.http.message import Request
from proxy.route.rewrite import PathRewrite, prefix_rewrite, regex_rewrite


def redirect_rewrite(action: RedirectAction, match: RouteMatch) -> PathRewrite | None:
    """The rewrite of the request's path that comes before `redirect_target`; None: it stays."""
    if action.prefix_rewrite:
        return prefix_rewrite(match, action.prefix_rewrite)
    if action.regex_rewrite is not None:
        return regex_rewrite(action.regex_rewrite)
    return None


def redirect_target(action: RedirectAction) -> Callable[[Request], bytes]:
    """The `Location` for a request. The port goes if the scheme changes and it was the default of
    the old one (Envoy's rule)."""
    path_of = _path(action)
    host = action.host.encode() if action.host else None
    new_scheme = b"https" if action.https else (action.scheme or "").encode()
    port = b":%d" % action.port if action.port else None

    def target(request: Request) -> bytes:
        scheme = new_scheme or request.scheme
        name, old_port = split_port(request.authority)
        if port is not None:
            end = port
        elif host is not None or _default_port(request.scheme, old_port, scheme):
            end = b""
        else:
            end = old_port
        return b"%b://%b%b%b" % (scheme, host or name, end, path_of(request.path))

    return target


def split_port(authority: bytes) -> tuple[bytes, bytes]:
    """`host`, `:port` (or b''); an IPv6 literal keeps its brackets."""
    colon = authority.rfind(b":")
    if colon < 0 or authority.find(b"]", colon) >= 0:
        return authority, b""
    return authority[:colon], authority[colon:]


def _default_port(old_scheme: bytes, port: bytes, new_scheme: bytes) -> bool:
    if old_scheme == new_scheme:
        return False
    return (old_scheme, port) in ((b"http", b":80"), (b"https", b":443"))


def _path(action: RedirectAction) -> PathRewrite:
    """A query in `path_redirect` takes the place of the request's, and is never stripped."""
    fixed = (action.path or "").encode()
    if b"?" in fixed:
        return lambda _: fixed
    if action.strip_query:
        return lambda path: fixed or path.partition(b"?")[0]
    if not fixed:
        return lambda path: path

    def with_query(path: bytes) -> bytes:
        _, mark, query = path.partition(b"?")
        return fixed + mark + query

    return with_query
