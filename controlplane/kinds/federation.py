"""SPIRE's ClusterFederatedTrustDomain: a foreign trust domain whose certificates are believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit

from certs.errors import CertificateError
from certs.spiffe import SpiffeId
from certs.spiffe_bundle import SpiffeBundle
from controlplane.kinds.decoders import enum, text
from controlplane.kinds.objects import Object
from controlplane.kinds.schema import (
    Invalid,
    Place,
    Record,
    names,
    obj,
    optional,
    record,
    required,
)
from controlplane.kinds.yaml_nodes import Node

Profile = Literal["https_web", "https_spiffe"]


def trust_domain(node: Node, place: Place) -> str:
    value = text(node, place)
    try:
        return SpiffeId(value).trust_domain
    except CertificateError as error:
        raise Invalid([place.problem(node, str(error))]) from None


def _spiffe_id(node: Node, place: Place) -> SpiffeId:
    try:
        return SpiffeId.parse(text(node, place))
    except CertificateError as error:
        raise Invalid([place.problem(node, str(error))]) from None


def url(node: Node, place: Place) -> str:
    """SPIFFE federation, section 5.1: https, no user information, no query or fragment."""
    value = text(node, place)
    try:
        parts = urlsplit(value)
        fine = parts.scheme == "https" and parts.hostname and parts.port != 0
    except ValueError:
        fine = False
    if not fine or parts.username is not None or parts.query or parts.fragment:
        raise place.refuse(node, "an https:// URL without user, query or fragment")
    return value


def _bundle(node: Node, place: Place) -> SpiffeBundle:
    """A SPIFFE bundle document in a string."""
    try:
        bundle = SpiffeBundle.parse(text(node, place))
        bundle.check_usable()
    except CertificateError as error:
        raise Invalid([place.problem(node, str(error))]) from None
    return bundle


_domain, _endpoint = trust_domain, url  # fields of these names hide them


@record
class BundleEndpointProfile(Record):
    type: Profile = required(enum("https_web", "https_spiffe"))
    endpoint_spiffe_id: SpiffeId | None = optional(_spiffe_id, key="endpointSPIFFEID")

    def check(self) -> Iterator[tuple[str, str]]:
        if self.type == "https_spiffe" and self.endpoint_spiffe_id is None:
            yield "endpointSPIFFEID", "is required for https_spiffe"
        if self.type == "https_web" and self.endpoint_spiffe_id is not None:
            yield "endpointSPIFFEID", "has no meaning for https_web"


@record
class FederatedTrustDomainSpec(Record):
    """trust_domain_bundle is what to believe until the endpoint has been reached for the first
    time; https_spiffe of the domain itself can't begin without it."""

    IGNORED = names("className")
    trust_domain: str = required(_domain)
    bundle_endpoint_url: str = required(_endpoint, key="bundleEndpointURL")
    bundle_endpoint_profile: BundleEndpointProfile = required(obj(BundleEndpointProfile))
    trust_domain_bundle: SpiffeBundle | None = optional(_bundle)

    def check(self) -> Iterator[tuple[str, str]]:
        endpoint = self.bundle_endpoint_profile.endpoint_spiffe_id
        own = endpoint is not None and endpoint.trust_domain == self.trust_domain
        if own and self.trust_domain_bundle is None:
            yield (
                "trustDomainBundle",
                "is required when the endpoint proves itself by the trust domain's own "
                "certificates: they can't be verified before the first bundle",
            )


@record
class ClusterFederatedTrustDomain(Object):
    API_VERSIONS = names("spire.spiffe.io/v1alpha1")
    spec: FederatedTrustDomainSpec = required(obj(FederatedTrustDomainSpec))
