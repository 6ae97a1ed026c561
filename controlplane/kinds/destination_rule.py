"""Istio's DestinationRule: how to talk to a service, and its subsets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from controlplane.kinds.decoders import (
    HOST,
    LABELS,
    PORT,
    boolean,
    enum,
    integer,
    list_of,
    matching,
    not_yet,
    positive_duration,
    text,
)
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import Record, names, obj, optional, record, required
from controlplane.kinds.service_entry import NETWORKING, not_public

_COUNT = integer(0, 2**31 - 1)
_PERCENT = integer(0, 100)

Algorithm = Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "ROUND_ROBIN", "LEAST_REQUEST"]


@record
class LoadBalancer(Record):
    """LEAST_CONN is Istio's old name of LEAST_REQUEST."""

    UNSUPPORTED = names(
        "consistentHash localityLbSetting warmup warmupDurationSecs zoneAwareLbSetting"
    )
    simple: Algorithm = optional(
        not_yet(
            enum(
                "UNSPECIFIED", "LEAST_CONN", "RANDOM", "ROUND_ROBIN", "LEAST_REQUEST", "PASSTHROUGH"
            ),
            "PASSTHROUGH",
        ),
        "UNSPECIFIED",
    )


@record
class TcpSettings(Record):
    UNSUPPORTED = names("maxConnectionDuration tcpKeepalive")
    max_connections: int | None = optional(_COUNT)
    connect_timeout_s: float | None = optional(positive_duration)
    idle_timeout_s: float | None = optional(positive_duration)


@record
class HttpSettings(Record):
    UNSUPPORTED = names("http2KeepAlive h2UpgradePolicy maxConcurrentStreams useClientProtocol")
    max_pending_requests: int | None = optional(_COUNT, key="http1MaxPendingRequests")
    max_requests: int | None = optional(_COUNT, key="http2MaxRequests")
    max_requests_per_connection: int | None = optional(_COUNT)
    max_retries: int | None = optional(_COUNT)
    idle_timeout_s: float | None = optional(positive_duration)


@record
class ConnectionPool(Record):
    tcp: TcpSettings = optional(obj(TcpSettings), TcpSettings())
    http: HttpSettings = optional(obj(HttpSettings), HttpSettings())

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.where:
            yield "", "needs tcp or http"


@record
class OutlierDetection(Record):
    UNSUPPORTED = names(
        "consecutiveErrors consecutiveLocalOriginFailures outlierDetectionHttpErrorCodes "
        "splitExternalLocalOriginErrors"
    )
    consecutive_5xx: int | None = optional(_COUNT, key="consecutive5xxErrors")
    consecutive_gateway_errors: int | None = optional(_COUNT)
    interval_s: float | None = optional(positive_duration)
    base_ejection_time_s: float | None = optional(positive_duration)
    max_ejection_percent: int | None = optional(_PERCENT)
    min_health_percent: int | None = optional(_PERCENT)


@record
class ClientTls(Record):
    """Files are the proxy's, by name. ca_certificates '' is what its system trusts."""

    UNSUPPORTED = names("credentialName")
    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = optional(
        enum("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"), "DISABLE"
    )
    sni: str = optional(matching(r"[^\0\r\n]*", "at most 255 characters", 255), "")
    subject_alt_names: tuple[str, ...] = optional(list_of(text), ())
    ca_certificates: str = optional(text, "")
    ca_crl: str = optional(text, "")
    client_certificate: str = optional(text, "")
    private_key: str = optional(text, "")
    insecure_skip_verify: bool = optional(boolean, False)

    def check(self) -> Iterator[tuple[str, str]]:
        """Istio's rules: files are for SIMPLE and MUTUAL, a certificate of one's own for MUTUAL."""
        own = {"clientCertificate": self.client_certificate, "privateKey": self.private_key}
        theirs = {"caCertificates": self.ca_certificates, "caCrl": self.ca_crl}
        for name, value in own.items():
            if self.mode == "MUTUAL" and not value:
                yield name, "mode MUTUAL needs it"
            elif self.mode != "MUTUAL" and value:
                yield name, f"mode {self.mode} has no use for it, only MUTUAL"
        for name, value in theirs.items():
            if value and self.mode not in ("SIMPLE", "MUTUAL"):
                yield name, f"mode {self.mode} has no use for it, only SIMPLE and MUTUAL"
            elif value and self.insecure_skip_verify:
                yield name, "insecureSkipVerify has no use for it"
        if self.insecure_skip_verify and self.mode not in ("SIMPLE", "MUTUAL"):
            yield "insecureSkipVerify", f"mode {self.mode} always verifies"


@record
class PortNumber(Record):
    number: int = required(PORT)


@record
class PortPolicy(Record):
    port: PortNumber = required(obj(PortNumber))
    load_balancer: LoadBalancer | None = optional(obj(LoadBalancer))
    connection_pool: ConnectionPool | None = optional(obj(ConnectionPool))
    outlier_detection: OutlierDetection | None = optional(obj(OutlierDetection))
    tls: ClientTls | None = optional(obj(ClientTls))


@record
class TrafficPolicy(Record):
    """None: not set here; a subset then takes the service's."""

    UNSUPPORTED = names("proxyProtocol retryBudget tunnel")
    load_balancer: LoadBalancer | None = optional(obj(LoadBalancer))
    connection_pool: ConnectionPool | None = optional(obj(ConnectionPool))
    outlier_detection: OutlierDetection | None = optional(obj(OutlierDetection))
    tls: ClientTls | None = optional(obj(ClientTls))
    port_level_settings: tuple[PortPolicy, ...] = optional(list_of(obj(PortPolicy)), ())

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.where:
            yield "", "needs at least one setting"
        numbers = [item.port.number for item in self.port_level_settings]
        for index, number in enumerate(numbers):
            if number in numbers[:index]:
                yield f"portLevelSettings[{index}]", f"the port {number} is given twice"


@record
class Subset(Record):
    name: str = required(text)
    labels: Mapping[str, str] = optional(LABELS, {})
    traffic_policy: TrafficPolicy | None = optional(obj(TrafficPolicy))

    def check(self) -> Iterator[tuple[str, str]]:
        if not self.name:
            yield "name", "must not be empty"


@record
class DestinationRuleSpec(Record):
    UNSUPPORTED = names("workloadSelector")
    host: str = required(HOST)
    traffic_policy: TrafficPolicy | None = optional(obj(TrafficPolicy))
    subsets: tuple[Subset, ...] = optional(list_of(obj(Subset)), ())
    export_to: tuple[str, ...] = optional(list_of(text), ())

    def check(self) -> Iterator[tuple[str, str]]:
        yield from not_public(self.export_to, ("*",))
        seen: set[str] = set()
        for index, subset in enumerate(self.subsets):
            if subset.name in seen:
                yield f"subsets[{index}]", f"the subset {subset.name!r} is given twice"
            seen.add(subset.name)


@record
class DestinationRule(Object):
    API_VERSIONS = NETWORKING
    spec: DestinationRuleSpec = required(obj(DestinationRuleSpec))
