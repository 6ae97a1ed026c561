"""All analyzers, by the names that Istio has for them."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analyze import (
    annotation_places,
    conditions,
    crds,
    deployments,
    deprecations,
    destination_rules,
    destinations,
    envoy_filters,
    gateways,
    injection,
    networks,
    port_names,
    security,
    selectors,
    service_entries,
    telemetry_providers,
    virtual_services,
    webhooks,
)
from controlplane.analyze.finding import Analyzer, Finding
from controlplane.analyze.items import Item, Items

ANALYZERS: dict[str, Analyzer] = {
    "annotations.K8sAnalyzer": annotation_places.misplaced,
    "authn.BlockedCIDRsAnalyzer": security.unrestricted_keys,
    "authz.AuthorizationPoliciesAnalyzer": security.policies,
    "conditions.ConditionAnalyzer": conditions.negative,
    "deployment.ApplicationUIDAnalyzer": deployments.reserved_user,
    "deployment.ServiceAssociationAnalyzer": deployments.contradicting_services,
    "deprecation.FieldAnalyzer": deprecations.deprecated,
    "destinationrule.CaCertificateAnalyzer": destination_rules.unverified_servers,
    "destinationrule.PodNotSelectedAnalyzer": destination_rules.unknown_subsets,
    "envoyfilter.EnvoyPatchAnalyzer": envoy_filters.uncertain_patches,
    "externalcontrolplane.ExternalControlPlaneAnalyzer": webhooks.external_addresses,
    "gateway.CertificateAnalyzer": gateways.shared_certificates,
    "gateway.ConflictingGatewayAnalyzer": gateways.conflicts,
    "gateway.IngressGatewayPortAnalyzer": gateways.unopened_ports,
    "gateway.SecretAnalyzer": gateways.bad_credentials,
    "injection.Analyzer": injection.namespaces,
    "injection.ImageAnalyzer": injection.images,
    "injection.ImageAutoAnalyzer": injection.automatic_images,
    "k8sgateway.CRDVersionAnalyzer": crds.old_definitions,
    "k8sgateway.SelectorAnalyzer": selectors.ineffective,
    "multicluster.MeshNetworksAnalyzer": networks.unknown_registries,
    "service.PortNameAnalyzer": port_names.unnamed_protocols,
    "serviceentry.ConflictingServiceEntryProtocolAnalyzer": service_entries.conflicting_protocols,
    "serviceentry.ProtocolAddressesAnalyzer": service_entries.missing_addresses,
    "sidecar.SelectorAnalyzer": selectors.sidecars,
    "telemetry.DefaultSelectorAnalyzer": selectors.default_telemetry,
    "telemetry.ProviderAnalyzer": telemetry_providers.missing_providers,
    "telemetry.SelectorAnalyzer": selectors.telemetry,
    "virtualservice.ConflictingMeshGatewayHostsAnalyzer": virtual_services.same_hosts,
    "virtualservice.DestinationHostAnalyzer": destinations.unknown_hosts,
    "virtualservice.DestinationRuleAnalyzer": destinations.unknown_subsets,
    "virtualservice.GatewayAnalyzer": virtual_services.gateways,
    "virtualservice.JWTClaimRouteAnalyzer": virtual_services.unproven_claims,
    "webhook.Analyzer": webhooks.overlapping,
}


def findings(items: Items) -> Iterator[Finding]:
    """Of all analyzers, without what an object's annotation says is known."""
    for analyzer in ANALYZERS.values():
        for finding in analyzer(items):
            if not _is_known(finding.item, finding.code):
                yield finding


def _is_known(item: Item, code: str) -> bool:
    said = item.annotations.get(annotation_places.SUPPRESS, "")
    return any(one.strip() in ("*", code) for one in said.split(","))
