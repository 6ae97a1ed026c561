"""Istio's messages: their names, how bad they are, and which codes of ours say the same.

The names and levels are Istio's (`istioctl analyze`, istio.io/docs/reference/config/analysis), so
that what people have learned or written into their pipelines still holds. The words are ours.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "info"]


class Kind(NamedTuple):
    """twins: codes of ours that, said of the same place, are about the same thing."""

    name: str
    severity: Severity
    twins: frozenset[str] = frozenset()


def _kind(name: str, severity: Severity, twins: str = "") -> Kind:
    return Kind(name, severity, frozenset(twins.split()))


_NO_REQUEST = "UnknownGateway SelectsNothing"
_UNKNOWN = (
    "UnknownService UnknownSubset UnknownPort UnknownGateway MissingCredential SelectsNothing"
)

CODES: dict[str, Kind] = {
    "IST0002": _kind("Deprecated", "warning", "NotSupported UnknownKind UnknownField NoEffect"),
    "IST0101": _kind("ReferencedResourceNotFound", "error", _UNKNOWN),
    "IST0102": _kind("NamespaceNotInjected", "info"),
    "IST0103": _kind("PodMissingProxy", "warning"),
    "IST0107": _kind("MisplacedAnnotation", "warning"),
    "IST0108": _kind("UnknownAnnotation", "warning"),
    "IST0109": _kind("ConflictingMeshGatewayVirtualServiceHosts", "error", "Conflict"),
    "IST0110": _kind("ConflictingSidecarWorkloadSelectors", "error", "Conflict"),
    "IST0111": _kind("MultipleSidecarsWithoutWorkloadSelectors", "error", "Conflict"),
    "IST0112": _kind("VirtualServiceDestinationPortSelectorRequired", "error", "UnknownPort"),
    "IST0116": _kind("DeploymentAssociatedToMultipleServices", "warning"),
    "IST0118": _kind("PortNameIsNotUnderNamingConvention", "info", "ProtocolAssumed"),
    "IST0123": _kind("NamespaceMultipleInjectionLabels", "warning"),
    "IST0125": _kind("InvalidAnnotation", "warning"),
    "IST0126": _kind("UnknownMeshNetworksServiceRegistry", "error"),
    "IST0127": _kind("NoMatchingWorkloadsFound", "warning", "SelectsNothing"),
    "IST0128": _kind("NoServerCertificateVerificationDestinationLevel", "warning"),
    "IST0129": _kind("NoServerCertificateVerificationPortLevel", "warning"),
    "IST0132": _kind(
        "VirtualServiceHostNotFoundInGateway", "warning", "UnknownGateway SelectsNothing"
    ),
    "IST0134": _kind("ServiceEntryAddressesRequired", "warning"),
    "IST0135": _kind("DeprecatedAnnotation", "info"),
    "IST0137": _kind("DeploymentConflictingPorts", "warning"),
    "IST0138": _kind("GatewayDuplicateCertificate", "warning"),
    "IST0139": _kind("InvalidWebhook", "error"),
    "IST0140": _kind("IngressRouteRulesNotAffected", "warning"),
    "IST0144": _kind("InvalidApplicationUID", "warning"),
    "IST0145": _kind("ConflictingGateways", "error", "Conflict"),
    "IST0146": _kind("ImageAutoWithoutInjectionWarning", "warning"),
    "IST0147": _kind("ImageAutoWithoutInjectionError", "error"),
    "IST0148": _kind("NamespaceInjectionEnabledByDefault", "info"),
    "IST0149": _kind("JwtClaimBasedRoutingWithoutRequestAuthN", "error"),
    "IST0150": _kind("ExternalNameServiceTypeInvalidPortName", "warning", "ProtocolAssumed"),
    "IST0151": _kind("EnvoyFilterUsesRelativeOperation", "warning"),
    "IST0152": _kind("EnvoyFilterUsesReplaceOperationIncorrectly", "error", "NotSupported"),
    "IST0153": _kind("EnvoyFilterUsesAddOperationIncorrectly", "error", "NotSupported"),
    "IST0154": _kind("EnvoyFilterUsesRemoveOperationIncorrectly", "error", "NotSupported"),
    "IST0155": _kind("EnvoyFilterUsesRelativeOperationWithProxyVersion", "warning"),
    "IST0157": _kind("InvalidTelemetryProvider", "warning"),
    "IST0158": _kind("PodsIstioProxyImageMismatchInNamespace", "warning"),
    "IST0159": _kind("ConflictingTelemetryWorkloadSelectors", "error", "Conflict"),
    "IST0160": _kind("MultipleTelemetriesWithoutWorkloadSelectors", "error", "Conflict"),
    "IST0161": _kind("InvalidGatewayCredential", "error", "BadCredential MissingCredential"),
    "IST0162": _kind("GatewayPortNotDefinedOnService", "warning"),
    "IST0163": _kind("InvalidExternalControlPlaneConfig", "warning"),
    "IST0164": _kind("ExternalControlPlaneAddressIsNotAHostname", "info"),
    "IST0165": _kind("ReferencedInternalGateway", "warning", "UnknownGateway"),
    "IST0166": _kind("IneffectiveSelector", "warning"),
    "IST0167": _kind("IneffectivePolicy", "warning"),
    "IST0171": _kind("NegativeConditionStatus", "warning"),
    "IST0173": _kind("DestinationRuleSubsetNotSelectPods", "error", "SelectsNothing"),
    "IST0174": _kind("UnknownDestinationRuleHost", "warning", "SelectsNothing"),
    "IST0175": _kind("JwksUriFetchUnrestricted", "warning"),
    "IST0176": _kind("GatewayAPICRDVersionBelowMinimum", "warning"),
    "IST0177": _kind("ConflictingServiceEntryProtocol", "warning", "Conflict"),
}
