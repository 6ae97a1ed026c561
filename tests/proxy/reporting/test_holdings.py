"""Which certificates a proxy says it holds, and what depends on them."""

from __future__ import annotations

from certs.authority import Authority
from certs.keys import generate_key
from certs.spiffe import SpiffeId
from certs.x509 import chain_to_pem, fingerprint, validity
from proxy.config.model import (
    Cluster,
    CommonTls,
    DataSource,
    DownstreamTls,
    FilterChain,
    FilterChainMatch,
    Listener,
    SdsRef,
    Secret,
    SocketAddress,
    TlsCertificate,
    TrustDomain,
    UpstreamTls,
    ValidationContext,
)
from proxy.config.snapshot import Snapshot
from proxy.reporting.holdings import MAX_CERTIFICATES, MAX_ROOTS, holdings

NOW = 1_800_000_000.0
AUTHORITY = Authority.create("cluster.local", NOW)
CART = SpiffeId.workload("cluster.local", "default", "cart")
(LEAF, ROOT) = AUTHORITY.sign(generate_key().public_key(), CART, 600, NOW, dns_names=("cart.org",))
PEM = DataSource(chain_to_pem((LEAF,)), "/certs/edge.pem")
PAIR = TlsCertificate(PEM, DataSource(b"a key, which is not looked at"))
TRUST = ValidationContext(DataSource(chain_to_pem((ROOT,)), "/certs/ca.pem"))


def listener(common: CommonTls, name: str = "edge") -> Listener:
    chain = FilterChain(FilterChainMatch(), tls=DownstreamTls(common))
    return Listener(name, SocketAddress("127.0.0.1", 443), filter_chains=(chain,))


def cluster(common: CommonTls, name: str = "bank") -> Cluster:
    return Cluster(name, tls=UpstreamTls(common))


def test_the_own_certificate_and_roots_are_told_with_who_uses_them() -> None:
    common = CommonTls(certificate_sds=SdsRef("default"), validation_sds=SdsRef("ROOTCA"))
    own = Secret("default", certificate=PAIR)
    snapshot = Snapshot(
        listeners={"edge": listener(common)},
        clusters={"bank": cluster(common)},
        secrets={
            "default": own,
            "ROOTCA": Secret("ROOTCA", validation=TRUST),
            "unused": Secret("unused", validation=TRUST),
        },
    )
    identity, root = holdings(snapshot, own)
    users = ("listener edge", "cluster bank")
    assert (identity.kind, identity.secret, identity.used_by) == ("identity", "default", users)
    assert (identity.serial, identity.sha256) == (f"{LEAF.serial_number:x}", fingerprint(LEAF))
    assert identity.name == f"{CART}, cart.org"
    assert identity.issuer == "CN=Weft root CA,O=cluster.local"
    assert (identity.not_before, identity.not_after) == validity(LEAF)
    assert (root.kind, root.source, root.used_by) == ("trust", "/certs/ca.pem", users)
    assert root.sha256 == fingerprint(ROOT)


def test_files_inside_of_listeners_and_clusters_are_theirs() -> None:
    snapshot = Snapshot(
        listeners={"edge": listener(CommonTls(certificates=(PAIR,)))},
        clusters={"bank": cluster(CommonTls(certificates=(PAIR,), validation=TRUST))},
    )
    found = [(one.kind, one.secret, one.source, one.used_by) for one in holdings(snapshot, None)]
    assert found == [
        ("certificate", "edge", "/certs/edge.pem", ("listener edge",)),
        ("certificate", "bank", "/certs/edge.pem", ("cluster bank",)),
        ("trust", "bank", "/certs/ca.pem", ("cluster bank",)),
    ]


def test_roots_by_trust_domain_are_told_too() -> None:
    bundle = DataSource(chain_to_pem((ROOT,)))
    context = ValidationContext(trust_domains=(TrustDomain("cluster.local", bundle),))
    snapshot = Snapshot(clusters={"bank": cluster(CommonTls(validation=context))})
    (root,) = holdings(snapshot, None)
    assert (root.kind, root.sha256) == ("trust", fingerprint(ROOT))


def test_of_a_large_bundle_there_is_the_root_that_ends_last() -> None:
    roots = [Authority.create("cluster.local", NOW - n * 86400).root for n in range(MAX_ROOTS + 1)]
    context = ValidationContext(DataSource(chain_to_pem(reversed(roots))))
    snapshot = Snapshot(clusters={"bank": cluster(CommonTls(validation=context))})
    (root,) = holdings(snapshot, None)
    assert root.sha256 == fingerprint(roots[0])
    assert root.source == f"inline, the last of {len(roots)} roots"


def test_what_is_no_certificate_is_left_out_and_all_is_bounded() -> None:
    broken = TlsCertificate(DataSource(b"-----BEGIN"), DataSource(b""))
    clusters = {
        f"bank-{number}": cluster(CommonTls(certificates=(broken, PAIR)), f"bank-{number}")
        for number in range(MAX_CERTIFICATES + 1)
    }
    own = Secret("default", certificate=PAIR)
    found = holdings(Snapshot(clusters=clusters), own)
    assert len(found) == MAX_CERTIFICATES
    assert found[0].kind == "identity"
