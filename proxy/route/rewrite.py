"""What a route does to path and host before the request goes on, and where a redirect points.

Functions of bytes, compiled per route. Envoy: `prefix_rewrite`, `regex_rewrite`, `host_rewrite_*`,
`RedirectAction`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from proxy.config.model import RedirectAction, RegexRewrite, RouteMatch
from proxy.http.message import Request

PathRewrite = Callable[[bytes], bytes]


def matched_length(match: RouteMatch) -> Callable[[bytes], int]:
    """How much of the path a route has matched: what `prefix_rewrite` replaces."""
    fixed = match.prefix if match.prefix is not None else match.path_separated_prefix
    if fixed is not None:
        length = len(fixed.encode())
        return lambda _: length
    return lambda path: len(path.partition(b"?")[0])  # exact path and regex: the whole path


def prefix_rewrite(match: RouteMatch, replacement: str) -> PathRewrite:
    length_of = matched_length(match)
    new = replacement.encode()
    return lambda path: new + path[length_of(path) :]


def regex_rewrite(rewrite: RegexRewrite) -> PathRewrite:
    """Replaces every match in the path; the query stays. `\\1` in the substitution is a group."""
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    substitute = re2.compile(rewrite.pattern.encode(), options).sub
    # RE2 writes the whole match as \\0 and groups as \\1; the binding wants \\g<1>.
    new = re.sub(rb"\\(\d)", rb"\\g<\1>", rewrite.substitution.encode())

    def apply(path: bytes) -> bytes:
        bare, mark, query = path.partition(b"?")
        return bytes(substitute(new, bare)) + mark + query

    return apply


def redirect_target(action: RedirectAction, match: RouteMatch) -> Callable[[Request], bytes]:
    """The `Location` for a request. The port goes if the scheme changes and it was the default of
    the old one (Envoy's rule)."""
    rewrite = _redirect_path(action, match)
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
        return b"%b://%b%b%b" % (scheme, host or name, end, rewrite(request.path))

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


def _redirect_path(action: RedirectAction, match: RouteMatch) -> PathRewrite:
    if action.path is not None:
        fixed = action.path.encode()
        replaces_query = b"?" in fixed

        def whole(path: bytes) -> bytes:
            if replaces_query or action.strip_query:
                return fixed
            _, mark, query = path.partition(b"?")
            return fixed + mark + query

        return whole
    inner: PathRewrite = lambda path: path  # noqa: E731
    if action.prefix_rewrite is not None:
        inner = prefix_rewrite(match, action.prefix_rewrite)
    elif action.regex_rewrite is not None:
        inner = regex_rewrite(action.regex_rewrite)
    if action.strip_query:
        return lambda path: inner(path).partition(b"?")[0]
    return inner
