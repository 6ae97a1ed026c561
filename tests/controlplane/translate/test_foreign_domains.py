"""ClusterFederatedTrustDomain: what is refused where it is read, and what translation says."""

from __future__ import annotations

import json

import pytest

from certs.authority import Authority
from certs.spiffe_bundle import emit_bundle
from certs.x509 import Certificate, chain_to_pem
from controlplane.inventory import Inventory, Origin
from controlplane.kinds.parse import parse
from controlplane.mesh.federation import ForeignDomain
from controlplane.mesh.model import Mesh, Status
from controlplane.translate import build

ROOTS = Authority.create("far", 1_800_000_000.0).bundle.roots
BUNDLE = json.dumps(json.loads(emit_bundle(ROOTS, 1, 60)))
ALIASES = """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "trustDomainAliases: [old.td]"}
"""


def manifest(
    domain: str = "far", url: str = "https://far.example/", name: str = "", **more: str
) -> str:
    profile = more.pop("profile", "{type: https_web}")
    bundle = f"\n  trustDomainBundle: '{more['bundle']}'" if "bundle" in more else ""
    return f"""
---
apiVersion: spire.spiffe.io/v1alpha1
kind: ClusterFederatedTrustDomain
metadata: {{name: {name or "far"}}}
spec:
  className: x
  trustDomain: {domain}
  bundleEndpointURL: {url}
  bundleEndpointProfile: {profile}{bundle}
"""


def built(*texts: str) -> tuple[Mesh, list[Status]]:
    inventory = Inventory()
    found = parse("\n".join(texts), "a.yaml")
    inventory.replace(Origin.file("a.yaml"), found.objects, found.statuses)
    mesh, statuses = build(inventory.snapshot(), "near")
    return mesh, list(statuses)


SPIFFE = "{type: https_spiffe, endpointSPIFFEID: spiffe://far/server}"


def test_foreign_domains_are_sorted_and_may_come_in() -> None:
    mesh, statuses = built(
        manifest(profile=SPIFFE, bundle=BUNDLE), manifest("a.b", name="ab"), ALIASES
    )
    assert [status for status in statuses if status.severity != "info"] == []
    first, second = mesh.federated
    assert first == ForeignDomain("a.b", "https://far.example/")
    assert (second.trust_domain, str(second.endpoint)) == ("far", "spiffe://far/server")
    assert second.first_bundle is not None and second.first_bundle.roots == ROOTS
    assert mesh.trust_domains == ("near", "old.td", "a.b", "far")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (manifest("Far"), "lowercase letters"),
        (manifest("spiffe://far"), "lowercase letters"),
        (manifest(url="http://far/"), "an https:// URL"),
        (manifest(url="https://user@far/"), "an https:// URL"),
        (manifest(url="https://far:x/"), "an https:// URL"),
        (manifest(url="https:///x"), "an https:// URL"),
        (manifest(url="https://far/?a=b"), "an https:// URL"),
        (manifest(profile="{type: spire}"), "https_web"),
        (manifest(profile="{type: https_spiffe}"), "endpointSPIFFEID is required"),
        (manifest(profile="{type: https_web, endpointSPIFFEID: spiffe://a/b}"), "no meaning"),
        (manifest(profile="{type: https_spiffe, endpointSPIFFEID: far}"), "spiffe://"),
        (manifest(profile=SPIFFE), "trustDomainBundle is required"),
        (manifest(bundle="{}"), "no list [keys]"),
        (manifest(bundle='{"keys": []}'), "no key of use x509-svid"),
    ],
)
def test_refused(text: str, words: str) -> None:
    mesh, statuses = built(text)
    assert mesh.federated == ()
    (status,) = statuses
    assert status.severity == "error"
    assert words in status.message
    assert status.position.line > 5


@pytest.mark.parametrize(
    ("texts", "code", "severity", "words"),
    [
        ((manifest("near"),), "OwnTrustDomain", "error", "the mesh's own"),
        ((manifest("old.td"), ALIASES), "OwnTrustDomain", "error", "the mesh's own"),
        ((manifest(), manifest(name="zwei")), "Duplicate", "error", "a.yaml:3:"),
        (
            (manifest(profile="{type: https_spiffe, endpointSPIFFEID: spiffe://third/x}"),),
            "NoBundle",
            "warning",
            "spiffe://third/x",
        ),
    ],
)
def test_said(texts: tuple[str, ...], code: str, severity: str, words: str) -> None:
    mesh, statuses = built(*texts)
    (status,) = (status for status in statuses if status.severity != "info")
    assert (status.code, status.severity) == (code, severity)
    assert words in status.message
    assert len(mesh.federated) == (code != "OwnTrustDomain")


AUTHORITIES = """
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    trustDomainAliases: [old.td]
    caCertificates:
    - {spiffeBundleUrl: "https://one.example/bundle", trustDomains: [one.td, two.td]}
    - {spiffeBundleUrl: "https://far.example/other", trustDomains: [far]}
    - {spiffeBundleUrl: "https://x.example/", trustDomains: [old.td]}
    - {spiffeBundleUrl: "https://x.example/"}
    - {spiffeBundleUrl: "https://x.example/", trustDomains: [x.td], certSigners: [clusterissuers/x]}
"""


def roots_of(domain: str) -> tuple[tuple[Certificate, ...], str]:
    """Of a new authority, and how they stand in YAML."""
    roots = Authority.create(domain, 1_800_000_000.0).bundle.roots
    return roots, json.dumps(chain_to_pem(roots).decode())


def authorities(*lines: str) -> str:
    text = "".join(f"    - {line}\n" for line in lines)
    return AUTHORITIES.partition("    - ")[0] + text


def test_roots_are_believed_beside_those_of_our_own_authority() -> None:
    one, one_pem = roots_of("near")
    two, two_pem = roots_of("near")
    far, far_pem = roots_of("far")
    mesh, statuses = built(
        authorities(
            f"{{pem: {one_pem}}}",
            f"{{pem: {two_pem}, trustDomains: [old.td, near, far]}}",
            f"{{pem: {far_pem}, trustDomains: [far]}}",
            f"{{pem: {one_pem}}}",
        )
    )
    assert [one for one in statuses if one.severity != "info"] == []
    believed = {
        one.trust_domain: one.first_bundle.roots for one in mesh.federated if one.first_bundle
    }
    assert believed == {"near": (*one, *two), "far": (*two, *far)}
    assert {one.url for one in mesh.federated} == {""}
    assert mesh.trust_domains == ("near", "old.td", "far")


def test_roots_and_an_endpoint_of_one_trust_domain_are_one_too_many() -> None:
    _, pem = roots_of("far")
    mesh, statuses = built(authorities(f"{{pem: {pem}, trustDomains: [far]}}"), manifest())
    assert [(one.trust_domain, one.url) for one in mesh.federated] == [
        ("far", "https://far.example/")
    ]
    assert [one.code for one in statuses if one.severity == "error"] == ["Duplicate"]


def test_what_is_no_root_is_refused() -> None:
    for pem, words in (("roots", "pem holds no PEM certificate"), ("", "expected one of")):
        _, statuses = built(authorities(f"{{pem: '{pem}'}}"))
        assert [words in one.message for one in statuses if one.severity == "error"] == [True]


def test_other_authorities_of_the_mesh_config_are_foreign_domains() -> None:
    mesh, statuses = built(AUTHORITIES, manifest(url="https://far.example/"))
    assert [(one.trust_domain, one.url) for one in mesh.federated] == [
        ("far", "https://far.example/"),
        ("one.td", "https://one.example/bundle"),
        ("two.td", "https://one.example/bundle"),
    ]
    told = [(one.severity, one.code, one.position.line) for one in statuses]
    assert told == [
        ("error", "Duplicate", 11),
        ("warning", "NoEffect", 12),
        ("warning", "NoEffect", 13),
        ("warning", "NoEffect", 14),
    ]


def test_an_authority_is_a_bundle_or_roots() -> None:
    _, statuses = built(authorities("{trustDomains: [a]}"))
    assert [one.message for one in statuses] == [
        "data.mesh.caCertificates[0]: expected one of pem and spiffeBundleUrl"
    ]
