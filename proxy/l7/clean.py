"""What some connection managers do to a request before its route is looked for: path, port, via.

Most configurations ask for none of it, and then `request_cleaner` gives nothing to call. Envoy's
`normalize_path`, `merge_slashes`, `path_with_escaped_slashes_action`, `strip_*_host_port`, `via`.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.config.model import HttpConnectionManager
from proxy.connection import ConnectionInfo
from proxy.filters.api import Reply
from proxy.http import path as paths
from proxy.http.headers import Headers
from proxy.http.message import Request
from proxy.l7.reply import BAD_PATH
from proxy.route.redirect import split_port

Cleaner = Callable[[Request, ConnectionInfo], Reply | None]


def request_cleaner(config: HttpConnectionManager) -> Cleaner | None:
    """All that `config` asks for as one function; None if it asks for nothing."""
    steps: list[Cleaner] = []
    if path := _path_cleaner(config):
        steps.append(path)
    if config.strip_trailing_host_dot:
        steps.append(_strip_dot)
    if config.strip_any_host_port or config.strip_matching_host_port:
        steps.append(_strip_port(config.strip_any_host_port))
    if config.via:
        steps.append(_via(config.via.encode()))
    if not steps:
        return None

    def clean(request: Request, info: ConnectionInfo) -> Reply | None:
        for step in steps:
            answer = step(request, info)
            if answer is not None:
                return answer
        return None

    return clean


def append_via(headers: Headers, via: bytes) -> None:
    known = headers.joined(b"via")
    headers.set(b"via", known + b", " + via if known else via)


def _path_cleaner(config: HttpConnectionManager) -> Cleaner | None:
    """Slashes are unescaped first; a redirect for their sake points at the path as it is in the
    end."""
    action = config.escaped_slashes
    changes: list[Callable[[bytes], bytes]] = []
    if config.normalize_path:
        changes.append(paths.canonical)
    if config.merge_slashes:
        changes.append(paths.merge_slashes)
    if action == "KEEP_UNCHANGED" and not changes:
        return None

    def apply(request: Request, _: ConnectionInfo) -> Reply | None:
        path = request.path
        if not path:  # CONNECT has none
            return None
        escaped = action != "KEEP_UNCHANGED" and paths.has_escaped_slash(path)
        if escaped:
            if action == "REJECT_REQUEST":
                return BAD_PATH
            path = paths.unescape_slashes(path)
        if config.normalize_path and paths.has_escaped_nul(path):
            return BAD_PATH
        for change in changes:
            path = change(path)
        if escaped and action == "UNESCAPE_AND_REDIRECT":
            return Reply(307, b"", "", "path_normalization_failed", ((b"location", path),))
        request.path = path
        return None

    return apply


def _strip_port(any_port: bool) -> Cleaner:
    """strip_matching_host_port takes only the port that the listener has."""

    def apply(request: Request, info: ConnectionInfo) -> None:
        host, port = split_port(request.authority)
        if port and (any_port or port[1:] == b"%d" % info.local[1]):
            request.authority = host

    return apply


def _strip_dot(request: Request, _: ConnectionInfo) -> None:
    """`host.` and `host.:80` are `host` and `host:80`."""
    host, port = split_port(request.authority)
    if host.endswith(b"."):
        request.authority = host[:-1] + port


def _via(via: bytes) -> Cleaner:
    def apply(request: Request, _: ConnectionInfo) -> None:
        append_via(request.headers, via)

    return apply
