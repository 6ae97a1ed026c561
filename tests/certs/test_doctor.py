"""The doctor: everything is found, and warned of in time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from certs import steps
from certs.authority import Authority
from certs.cacerts import save_cacerts
from certs.cli import sign_new_key
from certs.doctor import Finding, Severity, examine, report
from certs.errors import CertificateError
from certs.files import write_secret
from certs.issue_log import Issued, IssueLog
from certs.keys import generate_key
from certs.profiles import INTERMEDIATE_LIFETIME_S, ROOT_LIFETIME_S
from certs.spiffe import SpiffeId
from certs.store import open_store
from certs.x509 import chain_to_pem, validity

NOW = 1_800_000_000.0
DAY_S = 86400.0


def by_what(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def bad(findings: tuple[Finding, ...]) -> dict[str, str]:
    return {one.what: one.text for one in findings if one.severity is not Severity.OK}


def test_a_healthy_state_directory(tmp_path: Path) -> None:
    stored = open_store(tmp_path, "td", NOW)
    sign_new_key(tmp_path, tmp_path / "cart", "default/cart", DAY_S, NOW)
    findings = examine(tmp_path, NOW)
    assert not bad(findings)
    found = by_what(findings)
    assert set(found) == {"root (signs)", "private key", "trust bundle", "issued certificates"}
    root = found["root (signs)"]
    assert root.not_after == validity(stored.authority.root)[1]
    assert root.used_by == "every proxy, to verify its peers"
    assert root.breaks == "every handshake of the mesh fails"
    assert root.path == str(tmp_path / "ca" / stored.authority.id / "root-cert.pem")
    assert found["issued certificates"].text == "1 certificate of 1 workload in force"
    assert found["issued certificates"].not_after == NOW + DAY_S


@pytest.mark.parametrize(
    ("share_left", "severity"),
    [(0.5, Severity.OK), (0.34, Severity.OK), (0.33, Severity.WARNING), (-0.01, Severity.ERROR)],
)
def test_warns_from_a_third_of_the_life_on(
    tmp_path: Path, share_left: float, severity: Severity
) -> None:
    open_store(tmp_path, "td", NOW)
    findings = examine(tmp_path, NOW + ROOT_LIFETIME_S * (1 - share_left))
    root = by_what(findings)["root (signs)"]
    assert root.severity is severity
    assert root.text.endswith("weft ca rotate replaces it without an interruption") is (
        severity is not Severity.OK
    )
    assert findings[0].severity is severity


def test_an_intermediate_ends_before_its_root(tmp_path: Path) -> None:
    below = Authority.create("td", NOW).create_intermediate(NOW)
    save_cacerts(tmp_path / "cacerts", below)
    late = NOW + INTERMEDIATE_LIFETIME_S * 0.9
    assert list(bad(examine(tmp_path / "cacerts", late))) == ["issuing certificate (signs)"]
    text = report(examine(tmp_path / "cacerts", late), late)
    assert text.startswith("WARNING issuing certificate (signs): CN=Weft intermediate CA")
    assert "less than a third of its life is left" in text
    assert "what breaks: in 36 days: every handshake of the mesh fails" in text


def test_a_clock_that_is_behind(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    found = examine(tmp_path, NOW - 3600)
    assert "not valid yet, check the clock" in bad(found)["root (signs)"]


def test_a_clock_that_was_set_back(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    log = IssueLog(tmp_path / "ca")
    log.record(Issued("1", "spiffe://td/a", "somebody", NOW + 2 * DAY_S, NOW + 3 * 3600))
    log.close()
    assert "3 hours in the future" in bad(examine(tmp_path, NOW))["issued certificates"]


def test_certificates_beyond_their_authority(tmp_path: Path) -> None:
    stored = open_store(tmp_path, "td", NOW)
    log = IssueLog(tmp_path / "ca")
    log.record(Issued("1", "spiffe://td/a", "somebody", stored.authority.not_after + 1, NOW))
    log.close()
    assert "beyond the end" in bad(examine(tmp_path, NOW))["issued certificates"]


def test_a_rotation_under_way(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    new = Authority.create("td", NOW)
    steps.stage(tmp_path, NOW, new)
    steps.prepare(tmp_path, new.id, NOW)
    assert "root (is to sign next)" in by_what(examine(tmp_path, NOW))
    steps.issue(tmp_path, new.id, NOW)
    findings = examine(tmp_path, NOW + DAY_S)
    assert not bad(findings)
    assert {"root (signs)", "root (retires)", "cross certificate", "rotation"} <= set(
        by_what(findings)
    )
    forgotten = bad(examine(tmp_path, NOW + 8 * DAY_S))
    assert "finish or abort it" in forgotten["rotation"]


def strange_root(state: Path) -> None:
    Authority.create("td", NOW).bundle.save(state / "root.pem")


def stray_folder(state: Path) -> None:
    save_cacerts(state / "ca" / ("0" * 32), Authority.create("td", NOW))


def half_made(state: Path) -> None:
    (state / ".ca.half").mkdir()


def cut_state(state: Path) -> None:
    (state / "ca" / "state.json").write_bytes(b"{")


@pytest.mark.parametrize(
    ("damage", "what", "text"),
    [
        (strange_root, "trust bundle", "is not what the authority trusts"),
        (lambda state: (state / "root.pem").unlink(), "trust bundle", "No such file"),
        (stray_folder, "left behind", "may hold a key: delete it"),
        (half_made, "left behind", "may hold a key: delete it"),
        (cut_state, "authority", "is corrupt"),
    ],
)
def test_damage_is_found(
    tmp_path: Path, damage: Callable[[Path], object], what: str, text: str
) -> None:
    open_store(tmp_path, "td", NOW)
    damage(tmp_path)
    assert text in bad(examine(tmp_path, NOW))[what]


def test_what_is_sound_in_a_damaged_directory_is_still_told(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    cut_state(tmp_path)
    assert "root (signs)" in by_what(examine(tmp_path, NOW))


def test_a_workload(tmp_path: Path) -> None:
    open_store(tmp_path / "state", "td", NOW)
    folder = tmp_path / "cart"
    sign_new_key(tmp_path / "state", folder, "default/cart", DAY_S, NOW)
    name = "certificate of spiffe://td/ns/default/sa/cart"
    assert set(by_what(examine(folder, NOW))) == {name, "root"}
    assert name in bad(examine(folder, NOW + 0.7 * DAY_S))
    (folder / "key.pem").write_bytes((tmp_path / "state" / "ca").joinpath(
        next((tmp_path / "state" / "ca").glob("*/ca-key.pem"))).read_bytes())  # fmt: skip
    assert "is not the key of" in bad(examine(folder, NOW))["workload certificate"]


def test_nothing_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="holds no authority"):
        examine(tmp_path, NOW)
    with pytest.raises(CertificateError, match="does not exist: name a state directory"):
        examine(tmp_path / "none", NOW)


def test_what_proxies_keep(tmp_path: Path) -> None:
    stored = open_store(tmp_path, "td", NOW)
    folder = tmp_path / "sidecars" / "cart"
    folder.mkdir(parents=True)
    identity = SpiffeId.workload("td", "default", "cart")
    chain = stored.authority.sign(generate_key().public_key(), identity, DAY_S, NOW)
    write_secret(folder / "identity.pem", chain_to_pem(chain))
    what = f"certificate of {identity}"
    assert by_what(examine(tmp_path, NOW))[what].path == str(folder / "identity.pem")
    assert what in bad(examine(tmp_path, NOW + 0.7 * DAY_S))
    assert not bad(examine(tmp_path, NOW + 2 * DAY_S)), "the mesh stands still"
    (folder / "identity.pem").write_bytes(b"")
    assert "certificate of a proxy" in bad(examine(tmp_path, NOW))
