"""Istio's ProxyConfig, as in the MeshConfig (defaultConfig) and the annotation of pods.

The control plane does what it can by what it sends (proxyHeaders, gatewayTopology). What is about
the process is for who starts it: `weft up` and `weft run`, or Istio's injector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, TypeVar

from controlplane.kinds.decoders import (
    boolean,
    enum,
    integer,
    line,
    map_of,
    opaque,
    text,
)
from controlplane.kinds.proxy_config import ProxyImage
from controlplane.kinds.schema import Decoder, Place, Problem, Record, notes, obj, optional, record
from controlplane.kinds.trace_providers import SERVICE_NAME, ServiceName, TracingSettings
from controlplane.kinds.yaml_nodes import Node

_BOOTSTRAP = "has no effect: weft writes the bootstrap of the proxies that it starts"
_STATISTICS = "has no effect: every proxy has all of Envoy's statistics, under Envoy's names"
_ADDRESS = "has no effect: a proxy asks the control plane that started it"
_TRACES = "has no effect: spans go to what defaultProviders.tracing or a Telemetry names"
_ALS = "has no effect: an envoy...Als provider that a Telemetry names is told"
_AS_IT_IS = "has no effect: a proxy of weft's is one process with one thread"
_CUSTOM = "has no effect: no proxy is started with another program or file"
_STOPS = (
    "has no effect: a program leaves the mesh before it is stopped, and its sidecar ends after it"
)

T = TypeVar("T")
Forwarded = Literal[
    "UNDEFINED",
    "SANITIZE",
    "FORWARD_ONLY",
    "APPEND_FORWARD",
    "SANITIZE_SET",
    "ALWAYS_FORWARD_ONLY",
]
_FORWARDED = enum(
    "UNDEFINED",
    "SANITIZE",
    "FORWARD_ONLY",
    "APPEND_FORWARD",
    "SANITIZE_SET",
    "ALWAYS_FORWARD_ONLY",
)


@record
class GatewayTopology(Record):
    """What stands before gateways. proxy_protocol: connections begin with a PROXY header."""

    num_trusted_proxies: int = optional(integer(0, 2**32 - 1), 0)
    forward_client_cert_details: Forwarded = optional(_FORWARDED, "UNDEFINED")
    proxy_protocol: None = optional(opaque)

    @property
    def takes_proxy_protocol(self) -> bool:
        return "proxyProtocol" in self.where


@record
class CertDetails(Record):
    subject: bool | None = optional(boolean)
    cert: bool | None = optional(boolean)
    chain: bool | None = optional(boolean)
    dns: bool | None = optional(boolean)
    uri: bool | None = optional(boolean)


@record
class Switched(Record):
    disabled: bool = optional(boolean, False)


@record
class Enabled(Record):
    enabled: bool = optional(boolean, False)


@record
class ServerHeader(Record):
    disabled: bool = optional(boolean, False)
    value: str = optional(line, "")

    def check(self) -> Iterator[tuple[str, str]]:
        if self.disabled and self.value:
            yield "value", "needs disabled: false"


@record
class ProxyHeaders(Record):
    """Headers that proxies add or change."""

    NOTED = notes(metadataExchangeHeaders="has no effect: proxies exchange no metadata in headers")
    forwarded_client_cert: Forwarded = optional(_FORWARDED, "UNDEFINED")
    set_current_client_cert_details: CertDetails | None = optional(obj(CertDetails))
    request_id: Switched = optional(obj(Switched), Switched())
    server: ServerHeader = optional(obj(ServerHeader), ServerHeader())
    attempt_count: Switched = optional(obj(Switched), Switched())
    envoy_debug_headers: Switched = optional(obj(Switched), Switched())
    preserve_http1_header_case: bool = optional(boolean, False, key="preserveHttp1HeaderCase")
    x_forwarded_port: Enabled = optional(obj(Enabled), Enabled())
    x_forwarded_host: Enabled = optional(obj(Enabled), Enabled())


def _told(decode: Decoder[T], why: str) -> Decoder[T]:
    """A field whose value is judged, and has no effect."""

    def decoded(node: Node, place: Place) -> T:
        value = decode(node, place)
        note = Problem(place.position(node), "info", "NoEffect", f"{place.path} {why}")
        place.notes.append(note)
        return value

    return decoded


_concurrency = _told(integer(0, 2**31 - 1), _AS_IT_IS)
_image = _told(obj(ProxyImage), _CUSTOM)


@record
class ProxySettings(Record):
    NOTED = notes(
        availabilityZone="has no effect: where a proxy is, its node says",
        binaryPath=_CUSTOM,
        caCertificatesPem="has no effect: proxies have their roots from the control plane",
        configPath=_BOOTSTRAP,
        controlPlaneAuthPolicy="has no effect: the control plane is always asked over TLS",
        customConfigFile=_CUSTOM,
        discoveryAddress=_ADDRESS,
        discoveryRefreshDelay=_ADDRESS,
        drainDuration=_STOPS,
        envoyAccessLogService=_ALS,
        envoyMetricsService=_STATISTICS,
        extraStatTags=_STATISTICS,
        fileFlushInterval="has no effect: access logs are written as requests end",
        fileFlushMinSizeKb="has no effect: access logs are written as requests end",
        interceptionMode="has no effect: what weft starts intercepts nothing (NONE); others say it",
        meshId="has no effect: there is one mesh",
        parentShutdownDuration=_STOPS,
        privateKeyProvider="has no effect: a proxy of weft's keeps its key in its own memory",
        proxyAdminPort="has no effect: each proxy on this machine has an admin port of its own",
        proxyBootstrapTemplatePath=_BOOTSTRAP,
        proxyStatsMatcher=_STATISTICS,
        readinessProbe="has no effect: a workload is in the mesh while its port accepts",
        sds=_ADDRESS,
        serviceCluster=_BOOTSTRAP,
        statNameLength=_STATISTICS,
        statsCompression=_STATISTICS,
        statsdUdpAddress=_STATISTICS,
        statusPort="has no effect: a proxy's admin port answers /ready",
        terminationDrainDuration=_STOPS,
        zipkinAddress=_TRACES,
    )
    concurrency: int | None = optional(_concurrency)
    gateway_topology: GatewayTopology = optional(obj(GatewayTopology), GatewayTopology())
    proxy_headers: ProxyHeaders = optional(obj(ProxyHeaders), ProxyHeaders())
    proxy_metadata: Mapping[str, str] = optional(map_of(text), {})
    runtime_values: Mapping[str, str] = optional(map_of(text), {})
    hold_application_until_proxy_starts: bool = optional(boolean, False)
    image: ProxyImage | None = optional(_image)
    tracing: TracingSettings | None = optional(obj(TracingSettings))
    tracing_service_name: ServiceName = optional(SERVICE_NAME, "APP_LABEL_AND_NAMESPACE")


NO_SETTINGS = ProxySettings()
