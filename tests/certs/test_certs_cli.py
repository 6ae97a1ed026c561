"""What `weft ca` does offline: folders in, text out."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from certs import cli
from certs.authority import Authority
from certs.bundle import TrustBundle
from certs.cacerts import load_cacerts, save_cacerts
from certs.csr import make_csr
from certs.errors import CertificateError
from certs.files import read_secret
from certs.issue_log import read_issues
from certs.keys import generate_key, key_from_pem
from certs.spiffe import SpiffeId
from certs.store import load_store, open_store
from certs.x509 import chain_from_pem, check_chain_order, check_svid, matches_key, validity

NOW = 1_800_000_000.0
DAY_S = 86400.0
CART = SpiffeId.workload("td", "default", "cart")


def test_init_makes_what_the_control_plane_then_takes(tmp_path: Path) -> None:
    said = cli.init(tmp_path, "td", NOW)
    stored = open_store(tmp_path, "td", NOW)
    assert said.startswith(f"authority {stored.authority.id} of td signs")
    assert TrustBundle.load(tmp_path / "root.pem") == stored.bundle


def test_init_below_an_offline_root(tmp_path: Path) -> None:
    root_dir = tmp_path / "stick" / "root"
    cli.init(tmp_path / "a", "td", NOW, root_dir=root_dir)
    cli.init(tmp_path / "b", "td", NOW, root_dir=root_dir)
    one, two = load_store(tmp_path / "a", NOW), load_store(tmp_path / "b", NOW)
    assert one.authority.certificate != two.authority.certificate
    assert one.bundle == two.bundle == load_cacerts(root_dir, NOW).bundle
    keys = list((tmp_path / "a").rglob("*-key.pem"))
    assert len(keys) == 1, "the root's key stays where it is"


def test_init_from_a_folder(tmp_path: Path) -> None:
    theirs = Authority.create("td", NOW).create_intermediate(NOW)
    save_cacerts(tmp_path / "cacerts", theirs, b"words")
    with pytest.raises(CertificateError, match="a passphrase is needed"):
        cli.init(tmp_path / "state", "td", NOW, source=tmp_path / "cacerts")
    assert not (tmp_path / "state" / "ca").exists()
    cli.init(tmp_path / "state", "td", NOW, source=tmp_path / "cacerts", passphrase=b"words")
    assert load_store(tmp_path / "state", NOW, b"words").authority.id == theirs.id


def test_init_replaces_nothing(tmp_path: Path) -> None:
    first = open_store(tmp_path, "td", NOW).authority.id
    with pytest.raises(CertificateError, match=r"ca is there already: .* weft ca rotate"):
        cli.init(tmp_path, "td", NOW)
    assert load_store(tmp_path, NOW).authority.id == first


def test_signs_a_new_key(tmp_path: Path) -> None:
    stored = open_store(tmp_path / "state", "td", NOW)
    out = tmp_path / "cart"
    cli.sign_new_key(
        tmp_path / "state", out, "default/cart", 3600, NOW, dns_names=["cart"], ip_addresses=["::1"]
    )
    chain = chain_from_pem((out / "cert-chain.pem").read_bytes())
    assert check_svid(chain) == CART
    check_chain_order((*chain, stored.authority.root))
    assert matches_key(chain[0], key_from_pem(read_secret(out / "key.pem")).public_key())
    assert stat.S_IMODE((out / "key.pem").stat().st_mode) == 0o600
    assert TrustBundle.load(out / "root-cert.pem") == stored.bundle
    (issued,) = read_issues(tmp_path / "state" / "ca")
    assert issued.identity == str(CART)
    assert issued.serial == f"{chain[0].serial_number:x}"
    assert issued.not_after == validity(chain[0])[1] == NOW + 3600
    assert issued.asked_by.startswith("weft ca sign uid=")


def test_never_replaces_a_key(tmp_path: Path) -> None:
    open_store(tmp_path / "state", "td", NOW)
    cli.sign_new_key(tmp_path / "state", tmp_path / "out", "default/cart", 3600, NOW)
    before = (tmp_path / "out" / "key.pem").read_bytes()
    with pytest.raises(CertificateError, match=r"key\.pem is there already"):
        cli.sign_new_key(tmp_path / "state", tmp_path / "out", "default/cart", 3600, NOW)
    assert (tmp_path / "out" / "key.pem").read_bytes() == before


def test_signs_a_request(tmp_path: Path) -> None:
    root = Authority.create("td", NOW)
    save_cacerts(tmp_path / "cacerts", root.create_intermediate(NOW))
    cli.init(tmp_path / "state", "td", NOW, source=tmp_path / "cacerts")
    pem = cli.sign_csr(tmp_path / "state", make_csr(generate_key(), CART), str(CART), 60, NOW)
    chain = chain_from_pem(pem)
    assert check_svid(chain) == CART
    check_chain_order((*chain, root.certificate))


@pytest.mark.parametrize(
    ("identity", "csr", "complaint"),
    [
        ("default/cart", b"garbage", "not a PEM-encoded"),
        ("default/other", make_csr(generate_key(), CART), "asks for identity"),
        ("cart", make_csr(generate_key(), CART), "neither spiffe://... nor NAMESPACE/ACCOUNT"),
        ("default/cart/x", make_csr(generate_key(), CART), "not one SPIFFE path segment"),
        ("spiffe://other/a", make_csr(generate_key(), CART), "trust domain td"),
    ],
)
def test_what_is_not_signed_leaves_no_trace(
    tmp_path: Path, identity: str, csr: bytes, complaint: str
) -> None:
    open_store(tmp_path, "td", NOW)
    with pytest.raises(CertificateError, match=complaint):
        cli.sign_csr(tmp_path, csr, identity, 60, NOW)
    assert list(read_issues(tmp_path / "ca")) == []


def test_shows_who_signs_and_what_is_trusted(tmp_path: Path) -> None:
    old = open_store(tmp_path, "td", NOW).authority
    head, only = cli.show(tmp_path, NOW).split("\n\n")
    assert head == "trust domain td, steady"
    assert only.startswith(f"[signs, authority {old.id}]\nsubject:   CN=Weft root CA,O=td\n")
    assert "valid:     2027-01-15T07:55:00Z to 2037-01-12T08:00:00Z (3650 days left)" in only
    target = cli.stage(tmp_path, NOW)
    cli.step(tmp_path, "prepare", NOW, acknowledged=False)
    head, signs, trusted = cli.show(tmp_path, NOW).split("\n\n")
    assert head.startswith("trust domain td, prepared since 2027-01-15T08:00:00Z: rotation to")
    assert signs.startswith(f"[signs, authority {old.id}]")
    assert trusted.startswith(f"[trusted, authority {target}]")


def test_shows_programs_the_same(tmp_path: Path) -> None:
    stored = open_store(tmp_path, "td", NOW)
    found = json.loads(cli.show_json(tmp_path))
    assert (found["trust_domain"], found["phase"], found["other"]) == ("td", "steady", None)
    assert found["authority"]["id"] == stored.authority.id
    (root,) = found["trusted_roots"]
    assert root["uris"] == ["spiffe://td"]
    assert root["key"] == "EC secp256r1"
    assert root["not_after"] == "2037-01-12T08:00:00Z"
    target = cli.stage(tmp_path, NOW)
    assert json.loads(cli.show_json(tmp_path))["other"]["id"] == target


def test_shows_an_authoritys_folder(tmp_path: Path) -> None:
    below = Authority.create("td", NOW).create_intermediate(NOW)
    save_cacerts(tmp_path / "cacerts", below)
    signs, root = cli.show(tmp_path / "cacerts", NOW).split("\n\n")
    assert "CN=Weft intermediate CA 2027-01-15,O=td" in signs
    assert root.startswith("[root]")
    found = json.loads(cli.show_json(tmp_path / "cacerts"))
    assert [one["path_length"] for one in found["authority"]["path"]] == [0, 1]


def test_showing_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="has no certificate authority"):
        cli.show(tmp_path, NOW)
    assert list(tmp_path.iterdir()) == []


def test_an_expired_authority_is_shown(tmp_path: Path) -> None:
    end = open_store(tmp_path, "td", NOW).authority.not_after
    assert "expired 3 days ago" in cli.show(tmp_path, end + 3 * DAY_S)


def test_a_rotation_by_hand(tmp_path: Path) -> None:
    old = open_store(tmp_path, "td", NOW).authority.id
    target = cli.stage(tmp_path, NOW)
    assert cli.stage(tmp_path, NOW) == target, "the one under way goes on"
    assert "Next: --step prepare" in cli.status(tmp_path)
    assert "2 roots" in cli.step(tmp_path, "prepare", NOW, acknowledged=False)
    assert f"{target} signs" in cli.step(tmp_path, "issue", NOW, acknowledged=False)
    with pytest.raises(CertificateError, match="acknowledged"):
        cli.step(tmp_path, "retire", NOW, acknowledged=False)
    said = cli.step(tmp_path, "retire", NOW, acknowledged=True)
    assert said.startswith(f"{target} signs and is all that is trusted (1 root in")
    assert not (tmp_path / "ca" / old).exists()


def test_a_rotation_to_another_authority_than_the_one_under_way(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    cli.stage(tmp_path, NOW)
    with pytest.raises(CertificateError, match=r"is under way .*or abort it"):
        cli.stage(tmp_path, NOW, root_dir=tmp_path / "root")
    cli.step(tmp_path, "abort", NOW, acknowledged=False)
    with pytest.raises(CertificateError, match="no rotation is under way"):
        cli.step(tmp_path, "prepare", NOW, acknowledged=False)


def test_a_rotation_to_itself(tmp_path: Path) -> None:
    save_cacerts(tmp_path / "cacerts", Authority.create("td", NOW))
    cli.init(tmp_path / "state", "td", NOW, source=tmp_path / "cacerts")
    with pytest.raises(CertificateError, match="is the authority that signs already"):
        cli.stage(tmp_path / "state", NOW, source=tmp_path / "cacerts")
