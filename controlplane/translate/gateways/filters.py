"""What the filters of a rule, or of one of its backends, do to requests and responses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from controlplane.kinds.gateway_api import filters as kinds
from controlplane.kinds.gateway_api.filters import ExternalAuth, GrpcFilter, HttpFilter
from controlplane.kinds.gateway_api.references import BackendObjectReference
from controlplane.mesh.http_rules import Cors
from controlplane.mesh.model import HeaderOperations, Headers, Redirect, Rewrite, StringMatch
from controlplane.translate.gateways.words import Fault
from protos.frozen import frozen

_WELL_KNOWN = {"http": 80, "https": 443}
_ANYTHING = "/.*"


@frozen
class MirrorTo:
    backend_ref: BackendObjectReference
    percent_of_requests: float


@dataclass(slots=True)
class Effects:
    """unsupported: a filter that can't be applied; what it is for must not happen without it.
    beyond_headers: one that works for a whole rule, but not for one of its backends."""

    headers: Headers = field(default_factory=Headers)
    mirrors: tuple[MirrorTo, ...] = ()
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    cors: Cors | None = None
    unsupported: Fault | None = None
    external_auth: tuple[ExternalAuth, ...] = ()

    @property
    def beyond_headers(self) -> Fault | None:
        whole = (self.mirrors, self.redirect, self.rewrite, self.cors, self.external_auth)
        if not any(whole):
            return None
        return Fault("UnsupportedValue", "only header modifiers are supported for one backend")


def effects_of(found: Iterable[GrpcFilter], prefix: str, port: int, scheme: str) -> Effects:
    """prefix: the one that the rule's match has, ''; port, scheme: where requests come in."""
    effects = Effects()
    for one in found:
        if one.request_header_modifier is not None:
            request = _operations(one.request_header_modifier)
            effects.headers = replace(effects.headers, request=request)
        if one.response_header_modifier is not None:
            response = _operations(one.response_header_modifier)
            effects.headers = replace(effects.headers, response=response)
        if one.request_mirror is not None:
            effects.mirrors += (_mirror(one.request_mirror),)
        if one.extension_ref is not None:
            named = f"{one.extension_ref.group}/{one.extension_ref.kind}"
            message = f"the extension {named} is not supported"
            effects.unsupported = Fault("UnsupportedValue", message)
        if isinstance(one, HttpFilter):
            _http_effects(effects, one, prefix, port, scheme)
    return effects


def _http_effects(effects: Effects, one: HttpFilter, prefix: str, port: int, scheme: str) -> None:
    if one.request_redirect is not None:
        effects.redirect = _redirect(one.request_redirect, prefix, port, scheme)
    if one.url_rewrite is not None:
        effects.rewrite = _rewrite(one.url_rewrite, prefix)
    if one.cors is not None:
        effects.cors = _cors(one.cors)
    if one.external_auth is not None:
        effects.external_auth += (one.external_auth,)


def _operations(modifier: kinds.HeaderModifier) -> HeaderOperations:
    return HeaderOperations(
        {header.name: _literal(header.value) for header in modifier.set},
        {header.name: _literal(header.value) for header in modifier.add},
        modifier.remove,
    )


def _literal(value: str) -> str:
    """A value in which nothing is replaced: the mesh's are Envoy's format strings."""
    return value.replace("%", "%%")


def _mirror(mirror: kinds.RequestMirror) -> MirrorTo:
    if mirror.fraction is not None:
        share = 100.0 * mirror.fraction.numerator / mirror.fraction.denominator
        return MirrorTo(mirror.backend_ref, share)
    return MirrorTo(mirror.backend_ref, 100.0 if mirror.percent is None else mirror.percent)


# --------------------------------------------------------------------------- paths


def _replacement(path: kinds.PathModifier, prefix: str) -> tuple[str, str]:
    """(pattern, substitution) of a path that is replaced, whole or what `prefix` takes of it."""
    if path.replace_full_path is not None:
        return _ANYTHING, _substitution(_rooted(path.replace_full_path))
    trimmed = prefix.rstrip("/")
    into = (path.replace_prefix_match or "").rstrip("/")
    if not into:
        return f"{re.escape(trimmed)}/*(.*)", r"/\1"
    return f"{re.escape(trimmed)}(.*)", _substitution(_rooted(into)) + r"\1"


def _rooted(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def _substitution(text: str) -> str:
    """As RE2 writes a backslash in a rewrite."""
    return text.replace("\\", "\\\\")


def _rewrite(rewrite: kinds.UrlRewrite, prefix: str) -> Rewrite:
    if rewrite.path is None:
        return Rewrite(authority=rewrite.hostname)
    pattern, substitution = _replacement(rewrite.path, prefix)
    return Rewrite(authority=rewrite.hostname, pattern=f"^{pattern}$", substitution=substitution)


def _redirect(redirect: kinds.RequestRedirect, prefix: str, port: int, scheme: str) -> Redirect:
    """A port that goes without saying is left out."""
    found = redirect.scheme or scheme
    wanted = redirect.port or (_WELL_KNOWN[redirect.scheme] if redirect.scheme else port)
    made = Redirect(
        authority=redirect.hostname,
        scheme=redirect.scheme,
        port=None if wanted == _WELL_KNOWN[found] else wanted,
        code=redirect.status_code,
    )
    if redirect.path is None:
        return made
    if redirect.path.replace_full_path is not None:
        return replace(made, uri=_rooted(redirect.path.replace_full_path))
    pattern, substitution = _replacement(redirect.path, prefix)
    return replace(made, pattern=f"^{pattern}$", substitution=substitution)


# --------------------------------------------------------------------------- CORS


def _cors(cors: kinds.Cors) -> Cors:
    """A preflight of another origin is answered here, without headers of CORS (Gateway API)."""
    methods = cors.allow_methods
    if "*" in methods and cors.allow_credentials:
        methods = kinds.METHODS
    return Cors(
        origins=tuple(map(_origin, cors.allow_origins)),
        methods=methods,
        headers=cors.allow_headers,
        exposed=cors.expose_headers,
        max_age_s=float(cors.max_age_s),
        credentials=cors.allow_credentials,
        forwards=False,
    )


def _origin(origin: str) -> StringMatch:
    """A '*' is the whole host, or its first labels."""
    if "*" not in origin:
        return StringMatch("exact", origin)
    if origin == "*":
        return StringMatch("regex", ".*")
    return StringMatch("regex", re.escape(origin).replace(r"\*", "[^/]+"))
