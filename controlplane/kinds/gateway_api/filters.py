"""What a route does to requests and responses: the filters of HTTPRoute and GRPCRoute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from controlplane.kinds.decoders import PORT, boolean, enum, integer, text
from controlplane.kinds.gateway_api.references import (
    BackendObjectReference,
    BackendRef,
    LocalReference,
)
from controlplane.kinds.gateway_api.words import (
    HEADER_NAME,
    HEADER_VALUE,
    ORIGIN,
    PRECISE_HOSTNAME,
    URL_PATH,
    bounded,
    items,
    itself,
)
from controlplane.kinds.schema import Decoder, Place, Record, obj, optional, record, required
from controlplane.kinds.yaml_nodes import Node, Scalar

_COUNT = 2**31 - 1
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


# --------------------------------------------------------------------------- headers


@record
class Header(Record):
    name: str = required(HEADER_NAME)
    value: str = required(HEADER_VALUE)


def _name_of(header: Header) -> str:
    return header.name


HEADERS = items(obj(Header), 16, unique=_name_of)


@record
class HeaderModifier(Record):
    set: tuple[Header, ...] = optional(HEADERS, ())
    add: tuple[Header, ...] = optional(HEADERS, ())
    remove: tuple[str, ...] = optional(items(text, 16, unique=itself), ())


# --------------------------------------------------------------------------- mirror


@record
class Fraction(Record):
    numerator: int = required(integer(0, _COUNT))
    denominator: int = optional(integer(1, _COUNT), 100)

    def check(self) -> Iterator[tuple[str, str]]:
        if self.numerator > self.denominator:
            yield "numerator", f"is more than the denominator {self.denominator}"


@record
class RequestMirror(Record):
    backend_ref: BackendObjectReference = required(obj(BackendObjectReference))
    percent: int | None = optional(integer(0, 100))
    fraction: Fraction | None = optional(obj(Fraction))

    def check(self) -> Iterator[tuple[str, str]]:
        if self.percent is not None and self.fraction is not None:
            yield "fraction", "expected only one of percent and fraction"


# --------------------------------------------------------------------------- paths


@record
class PathModifier(Record):
    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"] = required(
        enum("ReplaceFullPath", "ReplacePrefixMatch")
    )
    replace_full_path: str | None = optional(bounded(1024))
    replace_prefix_match: str | None = optional(bounded(1024))

    def check(self) -> Iterator[tuple[str, str]]:
        given = {
            "ReplaceFullPath": self.replace_full_path,
            "ReplacePrefixMatch": self.replace_prefix_match,
        }
        for kind, value in given.items():
            key = kind[0].lower() + kind[1:]
            if kind == self.type and value is None:
                yield key, f"is required when type is {kind}"
            if kind != self.type and value is not None:
                yield key, f"must not be given when type is {self.type}"

    @property
    def replaces_prefix(self) -> bool:
        return self.replace_prefix_match is not None


def _redirect_code(node: Node, place: Place) -> int:
    if isinstance(node, Scalar) and node.kind == "integer" and node.value in _REDIRECTS:
        return int(node.value)
    raise place.refuse(node, "one of 301, 302, 303, 307, 308")


_REDIRECTS = ("301", "302", "303", "307", "308")


@record
class RequestRedirect(Record):
    scheme: Literal["", "http", "https"] = optional(enum("http", "https"), "")
    hostname: str = optional(PRECISE_HOSTNAME, "")
    path: PathModifier | None = optional(obj(PathModifier))
    port: int | None = optional(PORT)
    status_code: int = optional(_redirect_code, 302)


@record
class UrlRewrite(Record):
    hostname: str = optional(PRECISE_HOSTNAME, "")
    path: PathModifier | None = optional(obj(PathModifier))


# --------------------------------------------------------------------------- CORS


def _set_of(decode: Decoder[str], maximum: int) -> Decoder[tuple[str, ...]]:
    return items(decode, maximum, unique=itself)


@record
class Cors(Record):
    allow_origins: tuple[str, ...] = optional(_set_of(ORIGIN, 64), ())
    allow_credentials: bool = optional(boolean, False)
    allow_methods: tuple[str, ...] = optional(_set_of(enum(*METHODS, "*"), 9), ())
    allow_headers: tuple[str, ...] = optional(_set_of(HEADER_NAME, 64), ())
    expose_headers: tuple[str, ...] = optional(_set_of(HEADER_NAME, 64), ())
    max_age_s: int = optional(integer(1, _COUNT), 5)

    def check(self) -> Iterator[tuple[str, str]]:
        for key, values in (
            ("allowOrigins", self.allow_origins),
            ("allowMethods", self.allow_methods),
            ("allowHeaders", self.allow_headers),
        ):
            if "*" in values and len(values) > 1:
                yield key, "'*' can not stand beside others"


# --------------------------------------------------------------------------- external auth


@record
class HttpAuth(Record):
    path: str = optional(URL_PATH, "")
    allowed_headers: tuple[str, ...] = optional(_set_of(text, 64), ())
    allowed_response_headers: tuple[str, ...] = optional(_set_of(text, 64), ())


@record
class GrpcAuth(Record):
    allowed_headers: tuple[str, ...] = optional(_set_of(text, 64), ())


@record
class ForwardBody(Record):
    max_size: int = optional(integer(0, 65535), 0)


@record
class ExternalAuth(Record):
    protocol: Literal["HTTP", "GRPC"] = required(enum("HTTP", "GRPC"))
    backend_ref: BackendObjectReference = required(obj(BackendObjectReference))
    http: HttpAuth | None = optional(obj(HttpAuth))
    grpc: GrpcAuth | None = optional(obj(GrpcAuth))
    forward_body: ForwardBody | None = optional(obj(ForwardBody))

    def check(self) -> Iterator[tuple[str, str]]:
        for key, value in (("HTTP", self.http), ("GRPC", self.grpc)):
            if key == self.protocol and value is None:
                yield key.lower(), f"is required when protocol is {key}"
            if key != self.protocol and value is not None:
                yield key.lower(), f"must not be given when protocol is {self.protocol}"


# --------------------------------------------------------------------------- filters


@record
class GrpcFilter(Record):
    """One filter: `type` names the one field that is set."""

    FIELDS: ClassVar[tuple[str, ...]] = (
        "requestHeaderModifier",
        "responseHeaderModifier",
        "requestMirror",
        "extensionRef",
    )
    type: str = required(
        enum("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef")
    )
    request_header_modifier: HeaderModifier | None = optional(obj(HeaderModifier))
    response_header_modifier: HeaderModifier | None = optional(obj(HeaderModifier))
    request_mirror: RequestMirror | None = optional(obj(RequestMirror))
    extension_ref: LocalReference | None = optional(obj(LocalReference))

    def check(self) -> Iterator[tuple[str, str]]:
        wanted = FIELD_OF.get(self.type, self.type[0].lower() + self.type[1:])
        if wanted not in self.where:
            yield wanted, f"is required when type is {self.type}"
        for key in self.FIELDS:
            if key != wanted and key in self.where:
                yield key, f"must not be given when type is {self.type}"


FIELD_OF = {"URLRewrite": "urlRewrite", "CORS": "cors"}


@record
class HttpFilter(GrpcFilter):
    FIELDS: ClassVar[tuple[str, ...]] = (
        *GrpcFilter.FIELDS,
        "requestRedirect",
        "urlRewrite",
        "cors",
        "externalAuth",
    )
    type: str = required(
        enum(
            "RequestHeaderModifier",
            "ResponseHeaderModifier",
            "RequestMirror",
            "RequestRedirect",
            "URLRewrite",
            "ExtensionRef",
            "CORS",
            "ExternalAuth",
        )
    )
    request_redirect: RequestRedirect | None = optional(obj(RequestRedirect))
    url_rewrite: UrlRewrite | None = optional(obj(UrlRewrite))
    cors: Cors | None = optional(obj(Cors))
    external_auth: ExternalAuth | None = optional(obj(ExternalAuth))

    @property
    def replaces_prefix(self) -> bool:
        """Whether it needs to know which prefix was matched."""
        changed = self.request_redirect or self.url_rewrite
        return changed is not None and changed.path is not None and changed.path.replaces_prefix


_ONCE = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "CORS")


def filter_faults(filters: Sequence[GrpcFilter]) -> Iterator[tuple[str, str]]:
    """For `check`: what can be there once only, and what excludes each other."""
    seen: set[str] = set()
    for index, one in enumerate(filters):
        if one.type in _ONCE and one.type in seen:
            yield f"filters[{index}]", f"a second {one.type}"
        seen.add(one.type)
    if {"RequestRedirect", "URLRewrite"} <= seen:
        yield "filters", "RequestRedirect and URLRewrite exclude each other"


HTTP_FILTERS = items(obj(HttpFilter), 16)
GRPC_FILTERS = items(obj(GrpcFilter), 16)


@record
class HttpBackendRef(BackendRef):
    filters: tuple[HttpFilter, ...] = optional(HTTP_FILTERS, ())

    def check(self) -> Iterator[tuple[str, str]]:
        yield from BackendRef.check(self)
        yield from filter_faults(self.filters)


@record
class GrpcBackendRef(BackendRef):
    filters: tuple[GrpcFilter, ...] = optional(GRPC_FILTERS, ())

    def check(self) -> Iterator[tuple[str, str]]:
        yield from BackendRef.check(self)
        yield from filter_faults(self.filters)


HTTP_BACKENDS = items(obj(HttpBackendRef), 16)
GRPC_BACKENDS = items(obj(GrpcBackendRef), 16)
