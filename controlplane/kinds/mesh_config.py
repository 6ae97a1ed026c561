"""Istio's MeshConfig, as it stands in the ConfigMap `istio` of the root namespace, key `mesh`.

The part that Weft honours: trust-domain aliases, services that CUSTOM policies ask, access logs,
and what holds for sidecars that intercept connections. Of what makes a mesh safer, other values
than those that hold anyway are refused: nobody shall believe that old TLS is refused when it is
not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Literal, TypeVar

from controlplane.kinds.decoders import (
    PORT,
    boolean,
    duration,
    enum,
    integer,
    line,
    list_of,
    map_of,
    positive_duration,
    text,
)
from controlplane.kinds.gateway_api.gateway import LabelSelector
from controlplane.kinds.log_providers import (
    DefaultProviders,
    FileAccessLog,
    HttpGrpcLog,
    OtelLog,
    TcpGrpcLog,
    absolute_path,
)
from controlplane.kinds.mesh_authorities import CertificateData
from controlplane.kinds.mesh_defaults import MeshDefaults
from controlplane.kinds.mesh_networks import MeshNetworks
from controlplane.kinds.mesh_tls import TlsConfig
from controlplane.kinds.objects import Object
from controlplane.kinds.proxy_settings import NO_SETTINGS, ProxySettings
from controlplane.kinds.schema import (
    Invalid,
    Place,
    Problem,
    Record,
    names,
    notes,
    obj,
    optional,
    record,
    required,
)
from controlplane.kinds.selectors import named
from controlplane.kinds.trace_providers import (
    OTHERS,
    WHY_NOT,
    OpenTelemetryProvider,
    ZipkinProvider,
)
from controlplane.kinds.yaml_nodes import (
    Mapping as MappingNode,
)
from controlplane.kinds.yaml_nodes import (
    Node,
    Scalar,
    Sequence,
    YamlError,
    compose_all,
)

Encoding = Literal["TEXT", "JSON"]
T = TypeVar("T", bound=Record)
ROOT_NAMESPACE = "istio-system"
NAME = "istio"
KEY = "mesh"
NETWORKS_KEY = "meshNetworks"
DENIAL_DETAILS = "weft.dev/denial-details"
"""On that ConfigMap: "true" lets the body of a 403 name the policy, the rule and its place."""

_ONE_CLUSTER = "has no effect: there is one cluster, and every service of it is local"
_ALS = "has no effect: an envoy...Als provider that a Telemetry names is told"
_METRICS = "has no effect: proxies count for Prometheus, which asks them"
_UNUSED = notes(
    configSources="has no effect: this control plane is told its sources by its command line",
    disableEnvoyListenerLog="has no effect: listeners have no log of their own",
    enableEnvoyAccessLogService=_ALS,
    enablePrometheusMerge="has no effect: a proxy's metrics are its own, /stats/prometheus; "
    "let the application's be scraped where they are",
    hboneIdleTimeout="has no effect: there are no tunnels of ambient mode (HBONE)",
    serviceScopeConfigs=_ONE_CLUSTER,
    serviceSettings=_ONE_CLUSTER,
)
_OTHER_PROVIDERS = notes(
    **dict.fromkeys(OTHERS, WHY_NOT),
    stackdriver=_METRICS,
    sds="has no effect: proxies have their secrets from the control plane alone",
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORMAT = re.compile(r"(?:[^%]|%%|%[A-Z0-9_]+(?:\([^%]*\))?(?::[0-9]+)?%)*")
_STATUSES = frozenset(map(int, HTTPStatus)) - {101, 102, 103, 418, 425, 451}


def _pattern(node: Node, place: Place) -> str:
    """A header's name, a beginning ('x-*') or an end ('*-id') of names."""
    value = named(node, place)
    if value == "*":
        raise place.refuse(node, "a header name, or a part of one with a '*'")
    return value


def _status(node: Node, place: Place) -> int:
    """An HTTP status code that Envoy knows, which Istio writes as a string."""
    value = text(node, place)
    if not value.isdecimal() or len(value) != 3 or int(value) not in _STATUSES:
        raise place.refuse(node, "an HTTP status code as a string, such as '403'")
    return int(value)


def _prefix(node: Node, place: Place) -> str:
    value = line(node, place)
    if value and not value.startswith("/"):
        raise place.refuse(node, "a path that begins with '/'")
    return value


_PATTERNS = list_of(_pattern)


def _headers(node: Node, place: Place) -> Mapping[str, str]:
    """Names that a proxy may set, and values that may have Envoy's command operators."""
    found = map_of(line)(node, place)
    for name, value in found.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() == "host":
            message = f"{name!r} is not the name of a header that can be added"
            raise Invalid([place.problem(node, message)])
        if not _FORMAT.fullmatch(value):
            message = f"{name}: {value!r} has a '%' that begins no operator; write '%%' for one"
            raise Invalid([place.child(name).problem(node, message)])
    return found


@record
class RequestBody(Record):
    max_request_bytes: int = required(integer(1, 2**31 - 1))
    allow_partial_message: bool = optional(boolean, False)
    pack_as_bytes: bool = optional(boolean, False)


@record
class ExtAuthz(Record):
    """What gRPC and HTTP services have in common. service: a host, also as namespace/host."""

    service: str = required(named)
    port: int = required(PORT)
    timeout_s: float | None = optional(positive_duration)
    fail_open: bool = optional(boolean, False)
    clear_route_cache: bool = optional(boolean, False)
    status_on_error: int | None = optional(_status)
    include_request_body_in_check: RequestBody | None = optional(obj(RequestBody))


@record
class ExtAuthzGrpc(ExtAuthz):
    pass


@record
class ExtAuthzHttp(ExtAuthz):
    path_prefix: str = optional(_prefix, "")
    include_headers_in_check: tuple[str, ...] = optional(_PATTERNS, ())
    include_request_headers_in_check: tuple[str, ...] = optional(_PATTERNS, ())
    include_additional_headers_in_check: Mapping[str, str] = optional(_headers, {})
    headers_to_upstream_on_allow: tuple[str, ...] = optional(_PATTERNS, ())
    headers_to_downstream_on_deny: tuple[str, ...] = optional(_PATTERNS, ())
    headers_to_downstream_on_allow: tuple[str, ...] = optional(_PATTERNS, ())


@record
class PrometheusProvider(Record):
    """Has no settings: whoever scrapes says how."""


@record
class ExtensionProvider(Record):
    NOTED = _OTHER_PROVIDERS
    name: str = required(named)
    envoy_ext_authz_http: ExtAuthzHttp | None = optional(obj(ExtAuthzHttp))
    envoy_ext_authz_grpc: ExtAuthzGrpc | None = optional(obj(ExtAuthzGrpc))
    envoy_file_access_log: FileAccessLog | None = optional(obj(FileAccessLog))
    envoy_http_als: HttpGrpcLog | None = optional(obj(HttpGrpcLog))
    envoy_tcp_als: TcpGrpcLog | None = optional(obj(TcpGrpcLog))
    envoy_otel_als: OtelLog | None = optional(obj(OtelLog))
    opentelemetry: OpenTelemetryProvider | None = optional(obj(OpenTelemetryProvider))
    zipkin: ZipkinProvider | None = optional(obj(ZipkinProvider))
    prometheus: PrometheusProvider | None = optional(obj(PrometheusProvider))

    def check(self) -> Iterator[tuple[str, str]]:
        kinds = (
            *("envoyExtAuthzHttp", "envoyExtAuthzGrpc", "envoyFileAccessLog"),
            *("envoyHttpAls", "envoyTcpAls", "envoyOtelAls"),
            *("opentelemetry", "prometheus", "zipkin"),
        )
        given = [key for key in kinds if key in self.where]
        if len(given) > 1:
            yield given[1], "only one provider can stand under one name"


def _log_file(node: Node, place: Place) -> str:
    """Empty: nothing is logged."""
    return absolute_path(node, place) if text(node, place) else ""


def _root(node: Node, place: Place) -> str:
    value = text(node, place)
    if value != ROOT_NAMESPACE:
        raise place.refuse(node, f"{ROOT_NAMESPACE}, the only root namespace that is supported")
    return value


@record
class PathNormalization(Record):
    """Istio's default is BASE (RFC 3986)."""

    normalization: Literal[
        "DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"
    ] = optional(
        enum("DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"), "DEFAULT"
    )


def _verified(node: Node, place: Place) -> bool:
    """Istio never did what this says, but verifies by the system's roots unless a rule names
    others (VERIFY_CERTIFICATE_AT_CLIENT); so do we."""
    value = boolean(node, place)
    if not value:
        note = (
            f"{place.path}: false has no effect, as in Istio: servers outside of the mesh are "
            "verified, by the system's roots where a DestinationRule names no others; its "
            "insecureSkipVerify is for hosts that can't be"
        )
        place.notes.append(Problem(place.position(node), "info", "NoEffect", note))
    return value


@record
class OutboundTrafficPolicy(Record):
    """What sidecars that intercept connections do with those to places that nobody knows."""

    NOTED = notes(tls="has no effect yet: what is looked up is spoken to as the application does")
    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"] = optional(
        enum("REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"), "ALLOW_ANY"
    )


@record
class InboundTrafficPolicy(Record):
    """Where sidecars that intercept connections have their application: where it was asked for, or
    on the loopback."""

    mode: Literal["PASSTHROUGH", "LOCALHOST"] = optional(
        enum("PASSTHROUGH", "LOCALHOST"), "PASSTHROUGH"
    )


@record
class MeshConfig(MeshDefaults):
    NOTED = _UNUSED
    root_namespace: str = optional(_root, ROOT_NAMESPACE)
    ca_certificates: tuple[CertificateData, ...] = optional(list_of(obj(CertificateData)), ())
    trust_domain: str = optional(text, "")
    trust_domain_aliases: tuple[str, ...] = optional(list_of(named), ())
    extension_providers: tuple[ExtensionProvider, ...] = optional(
        list_of(obj(ExtensionProvider)), ()
    )
    access_log_file: str | None = optional(_log_file)
    access_log_format: str = optional(text, "")
    access_log_encoding: Encoding = optional(enum("TEXT", "JSON"), "TEXT")
    enable_tracing: bool = optional(boolean, False)
    default_providers: DefaultProviders | None = optional(obj(DefaultProviders))
    verify_certificate_at_client: bool = optional(_verified, True)
    path_normalization: PathNormalization | None = optional(obj(PathNormalization))
    mesh_mtls: TlsConfig = optional(obj(TlsConfig), TlsConfig(), key="meshMTLS")
    tls_defaults: TlsConfig = optional(obj(TlsConfig), TlsConfig())
    outbound_traffic_policy: OutboundTrafficPolicy = optional(
        obj(OutboundTrafficPolicy), OutboundTrafficPolicy()
    )
    inbound_traffic_policy: InboundTrafficPolicy = optional(
        obj(InboundTrafficPolicy), InboundTrafficPolicy()
    )
    discovery_selectors: tuple[LabelSelector, ...] = optional(list_of(obj(LabelSelector)), ())
    default_config: ProxySettings = optional(obj(ProxySettings), NO_SETTINGS)
    proxy_http_port: int = optional(integer(0, 65535), 0)
    proxy_listen_port: int = optional(PORT, 15001)
    proxy_inbound_listen_port: int = optional(PORT, 15006)
    protocol_detection_timeout_s: float = optional(duration, 0.0)

    def check(self) -> Iterator[tuple[str, str]]:
        seen: set[str] = set()
        for index, provider in enumerate(self.extension_providers):
            if provider.name in seen:
                yield f"extensionProviders[{index}]", f"{provider.name!r} is given twice"
            seen.add(provider.name)
        for index, selector in enumerate(self.discovery_selectors):
            for place, one in enumerate(selector.match_expressions):
                if one.fault:
                    yield f"discoverySelectors[{index}]", f"matchExpressions[{place}]: {one.fault}"
        yield from MeshDefaults.check(self)


# --------------------------------------------------------------------------- the ConfigMap


def _embedded(node: Node, place: Place) -> MeshConfig:
    return _inside(MeshConfig, KEY, node, place)


def _networks(node: Node, place: Place) -> MeshNetworks:
    return _inside(MeshNetworks, NETWORKS_KEY, node, place)


def _inside(cls: type[T], key: str, node: Node, place: Place) -> T:
    """A YAML document inside of a string."""
    value = text(node, place)
    assert isinstance(node, Scalar)
    try:
        documents = list(compose_all(value))
    except YamlError as error:
        at = _moved(Scalar("", "null", error.line or 1, error.column or 1), node, key)
        raise Invalid([place.problem(at, error.message, "ParseError")]) from None
    if not documents:
        return cls()
    if len(documents) > 1:
        raise place.refuse(node, "one YAML document")
    return obj(cls)(_moved(documents[0], node, key), place)


def _moved(node: Node, holder: Scalar, key: str) -> Node:
    """The node with its place in the outer text. Of a block the indentation is taken to be two
    more than the key's, as everybody writes it; inside one line all have the line's place."""
    if "\n" not in holder.value:
        line, column = holder.line, holder.column
    else:
        key_column = holder.column - len(f"{key}: ")
        line, column = node.line + holder.line, node.column + key_column + 1
    if isinstance(node, Scalar):
        return Scalar(node.value, node.kind, line, column, node.size)
    if isinstance(node, Sequence):
        items = tuple(_moved(item, holder, key) for item in node.items)
        return Sequence(items, line, column, node.size)
    entries = tuple((_scalar(k, holder, key), _moved(v, holder, key)) for k, v in node.entries)
    return MappingNode(entries, line, column, node.size)


def _scalar(node: Scalar, holder: Scalar, key: str) -> Scalar:
    moved = _moved(node, holder, key)
    assert isinstance(moved, Scalar)
    return moved


@record
class MeshData(Record):
    mesh: MeshConfig = optional(_embedded, MeshConfig())
    mesh_networks: MeshNetworks = optional(_networks, MeshNetworks())


@record
class MeshConfigMap(Object):
    """The ConfigMap of that name; all others have no effect."""

    KIND = "ConfigMap"
    API_VERSIONS = names("v1")
    IGNORED = Object.IGNORED | names("immutable binaryData")
    data: MeshData = optional(obj(MeshData), MeshData())

    @property
    def denial_details(self) -> bool:
        return self.metadata.annotations.get(DENIAL_DETAILS) == "true"

    def check(self) -> Iterator[tuple[str, str]]:
        value = self.metadata.annotations.get(DENIAL_DETAILS, "false")
        if value not in ("true", "false"):
            message = f'annotation {DENIAL_DETAILS}: expected "true" or "false", got {value!r}'
            yield "metadata", message
