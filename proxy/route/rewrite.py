"""What a route makes of a path before the request goes on.

Functions of bytes, compiled per route. Envoy: `prefix_rewrite`, `regex_rewrite`,
`path_rewrite_policy`. An empty path means that the request keeps the one it has.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.config.model import RegexRewrite, RouteAction, RouteMatch
from proxy.http.regex import compiled
from proxy.http.uri_template import parse_rewrite, parse_template
from proxy.route.substitute import substitute

PathRewrite = Callable[[bytes], bytes]


def path_rewrite(match: RouteMatch, action: RouteAction) -> PathRewrite | None:
    """What `action` asks for; None if nothing."""
    if action.prefix_rewrite:
        return prefix_rewrite(match, action.prefix_rewrite)
    if action.regex_rewrite is not None:
        return regex_rewrite(action.regex_rewrite)
    if action.path_template_rewrite is not None:
        return template_rewrite(match, action.path_template_rewrite)
    return None


def prefix_rewrite(match: RouteMatch, replacement: str) -> PathRewrite:
    """Replaces what the route has matched. Where that does not stand there as it is (parameters of
    segments were ignored), the path stays."""
    new = replacement.encode()
    fixed = match.prefix if match.prefix is not None else match.path_separated_prefix
    if fixed is None:
        fixed = match.path
    if fixed is None:  # a regex or a CONNECT: the whole path
        return lambda path: new + path[len(path.partition(b"?")[0]) :]
    matched, length = fixed.encode(), len(fixed.encode())
    if not match.case_sensitive:
        return lambda path: new + path[length:]

    def rewritten(path: bytes) -> bytes:
        return new + path[length:] if path.startswith(matched) else b""

    return rewritten


def regex_rewrite(rewrite: RegexRewrite) -> PathRewrite:
    """Replaces every match in the path; the query stays."""
    apply = substitute(rewrite)

    def rewritten(path: bytes) -> bytes:
        bare, mark, query = path.partition(b"?")
        return apply(bare) + mark + query

    return rewritten


def template_rewrite(match: RouteMatch, rewrite: str) -> PathRewrite:
    """`rewrite` with the variables of the template that the route matches; the query stays."""
    template = parse_template(match.uri_template or "")
    fullmatch = compiled(template.regex).fullmatch
    parts = [
        template.names.index(text) + 1 if is_variable else text.encode()
        for text, is_variable in parse_rewrite(rewrite)
    ]

    def rewritten(path: bytes) -> bytes:
        bare, mark, query = path.partition(b"?")
        found = fullmatch(bare)
        if found is None:  # a filter has changed the path since
            return path
        new = b"".join([part if isinstance(part, bytes) else found[part] for part in parts])
        return new + mark + query

    return rewritten
