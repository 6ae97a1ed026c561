"""The part of Istio's MeshConfig that says what holds where a rule says nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from controlplane.kinds.connection_pool import ConnectionPool, OutlierDetection, TcpKeepalive
from controlplane.kinds.decoders import boolean, enum, line, list_of, positive_duration, text
from controlplane.kinds.export_to import export_faults
from controlplane.kinds.http_policy import HttpRetry
from controlplane.kinds.load_balancer import LocalitySetting, ZoneAwareSetting
from controlplane.kinds.schema import Place, Record, obj, optional, record
from controlplane.kinds.selectors import named
from controlplane.kinds.yaml_nodes import Node

STAT_VARIABLES = (
    "%SERVICE%",
    "%SERVICE_FQDN%",
    "%SERVICE_NAME%",
    "%SERVICE_PORT%",
    "%SERVICE_PORT_NAME%",
    "%SUBSET_NAME%",
    "%TARGET_PORT%",
)
"""What stands in the place of what, in names of clusters in statistics (Istio's)."""


_EXPORTS = list_of(text)


def _stat_name(node: Node, place: Place) -> str:
    """Istio's pattern of names in statistics."""
    value = line(node, place)
    unknown = [one for one in re.findall(r"%[^%]*%", value) if one not in STAT_VARIABLES]
    if unknown:
        raise place.refuse(node, f"a name with variables of {' '.join(STAT_VARIABLES)}")
    return value


@record
class DefaultTrafficPolicy(Record):
    """Of all outbound clusters, where a DestinationRule does not set the same field."""

    connection_pool: ConnectionPool | None = optional(obj(ConnectionPool))
    outlier_detection: OutlierDetection | None = optional(obj(OutlierDetection))


@record
class MeshDefaults(Record):
    """What DestinationRules, VirtualServices and services set themselves comes first."""

    connect_timeout_s: float | None = optional(positive_duration)
    tcp_keepalive: TcpKeepalive | None = optional(obj(TcpKeepalive))
    h2_upgrade_policy: Literal["DO_NOT_UPGRADE", "UPGRADE"] = optional(
        enum("DO_NOT_UPGRADE", "UPGRADE"), "DO_NOT_UPGRADE"
    )
    locality_lb_setting: LocalitySetting | None = optional(obj(LocalitySetting))
    zone_aware_lb_setting: ZoneAwareSetting | None = optional(obj(ZoneAwareSetting))
    default_http_retry_policy: HttpRetry | None = optional(obj(HttpRetry))
    enable_auto_mtls: bool = optional(boolean, True)
    ingress_controller_mode: Literal["UNSPECIFIED", "OFF", "DEFAULT", "STRICT"] = optional(
        enum("UNSPECIFIED", "OFF", "DEFAULT", "STRICT"), "UNSPECIFIED"
    )
    ingress_class: str = optional(named, "")
    ingress_selector: str = optional(named, "")
    ingress_service: str = optional(named, "")
    inbound_cluster_stat_name: str = optional(_stat_name, "")
    outbound_cluster_stat_name: str = optional(_stat_name, "")
    dns_refresh_rate_s: float | None = optional(positive_duration)
    default_traffic_policy: DefaultTrafficPolicy | None = optional(obj(DefaultTrafficPolicy))
    default_service_export_to: tuple[str, ...] = optional(_EXPORTS, ())
    default_virtual_service_export_to: tuple[str, ...] = optional(_EXPORTS, ())
    default_destination_rule_export_to: tuple[str, ...] = optional(_EXPORTS, ())

    def check(self) -> Iterator[tuple[str, str]]:
        exports = {
            "defaultServiceExportTo": self.default_service_export_to,
            "defaultVirtualServiceExportTo": self.default_virtual_service_export_to,
            "defaultDestinationRuleExportTo": self.default_destination_rule_export_to,
        }
        if self.zone_aware_lb_setting is not None and self.locality_lb_setting is not None:
            yield "zoneAwareLbSetting", "and localityLbSetting exclude each other"
        for key, written in exports.items():
            for where, fault in export_faults(written, nobody=key == "defaultServiceExportTo"):
                yield where.replace("exportTo", key), fault
