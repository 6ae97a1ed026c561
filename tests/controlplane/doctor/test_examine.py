"""What the doctor says of a mesh: who ends when, who believes whom, whose clock is off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from certs.authority import Authority
from certs.doctor import Severity
from certs.x509 import fingerprint, validity
from controlplane.ca.envoy_secrets import EnvoySecrets
from controlplane.ca.live import LiveAuthority
from controlplane.ca.sds import SdsSecrets
from controlplane.ca.server_credentials import ServingCertificate
from controlplane.doctor.examine import FIRST_REPORT_S, SILENT_AFTER_S, Doctor, Patients
from controlplane.doctor.findings import Finding, Kind, Life
from controlplane.doctor.reports import Held, HeldKind, Report, Reports
from controlplane.rotation.roster import ROSTER_FILE, Roster
from tests.support.live import stored
from tests.support.meshed import CART, Meshed

NOW = 1_800_000_000.0
TTL_S = 600.0
AUTHORITY = Authority.create("cluster.local", NOW)
OTHER = Authority.create("other.org", NOW)
DAY_S = 86400.0


class Mesh:
    """A control plane's rooms without a network."""

    def __init__(self, directory: Path) -> None:
        self.now = NOW
        self.authority = LiveAuthority(stored(AUTHORITY))
        self.keys = EnvoySecrets(self.authority, TTL_S)
        self.sds = SdsSecrets(self.authority, self.keys, lambda: NOW)
        self.roster = Roster(directory / ROSTER_FILE, lambda: self.now)
        self.reports = Reports(self.roster.connected)
        self.doctor = Doctor(
            Patients(
                self.authority,
                ServingCertificate(self.authority, clock=lambda: self.now),
                lambda: {"other.org": OTHER.bundle.roots},
                self.roster,
                self.reports,
                self.keys,
                self.sds.root_version,
                TTL_S,
            )
        )

    def proxy(self, name: str = "cart-1", *, agent: bool = True) -> Meshed:
        leaf_of = AUTHORITY if agent else None
        return Meshed(name, self.sds, self.roster, weft_agent=agent, leaf_of=leaf_of, now=NOW)

    def told(self, proxy: Meshed, *held: Held, ahead_s: float = 0.0) -> None:
        report = Report(self.now, ahead_s, held)
        assert self.reports.take(proxy.id, CART, report) == ""

    def find(self, kind: Kind) -> list[Finding]:
        return [one for one in self.doctor.examine(self.now) if one.kind == kind]

    def only(self, kind: Kind) -> Finding:
        (found,) = self.find(kind)
        return found


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    return Mesh(tmp_path)


def held(kind: HeldKind, ends_in_s: float, life_s: float, sha256: str = "ab") -> Held:
    life = Life(NOW + ends_in_s - life_s, NOW + ends_in_s)
    users = ("listener edge",)
    return Held(
        kind, "edge", "/certs/edge.pem", "1f", sha256, "CN=Public", "shop.example", life, users
    )


def test_in_a_healthy_mesh_all_is_ok_and_the_authority_is_named(mesh: Mesh) -> None:
    mesh.told(mesh.proxy())
    findings = list(mesh.doctor.examine(NOW))
    assert {one.severity for one in findings} == {Severity.OK}
    kinds = sorted(one.kind for one in findings)
    assert kinds == ["authority", "bundle", "clock", "identity", "serving", "trust"]
    authority = mesh.only("authority")
    assert authority.life == Life(*validity(AUTHORITY.root))
    assert authority.breaks == "every handshake of the mesh fails"
    assert "1 discovery stream now" in authority.used_by


def test_an_authority_and_a_foreign_root_are_warned_of_from_a_third_of_their_life(
    mesh: Mesh,
) -> None:
    begins, ends = validity(AUTHORITY.root)
    third_s = (ends - begins) / 3
    for left_s, expected in (
        (third_s + DAY_S, Severity.OK),
        (third_s - DAY_S, Severity.WARNING),
        (-DAY_S, Severity.ERROR),
    ):
        mesh.now = ends - left_s
        assert mesh.only("authority").severity is expected
        foreign = mesh.only("trust")
        assert foreign.severity is expected
        assert foreign.where == "trust domain other.org"


def test_a_leaf_that_was_not_renewed_is_told_with_what_it_is(mesh: Mesh) -> None:
    proxy = mesh.proxy()
    leaf = proxy.connection.leaf
    assert leaf is not None
    mesh.now = NOW + TTL_S * 3 / 4
    found = mesh.only("identity")
    assert (found.severity, found.where) == (Severity.WARNING, proxy.id)
    assert found.serial == f"{leaf.serial_number:x}"
    assert found.identity == str(CART)
    assert found.issuer == "CN=Weft root CA,O=cluster.local"
    mesh.now = NOW + TTL_S + 1
    assert mesh.only("identity").severity is Severity.ERROR


def test_of_what_a_proxy_reports_and_what_its_stream_came_with_the_younger_counts(
    mesh: Mesh,
) -> None:
    proxy = mesh.proxy()
    mesh.now = NOW + TTL_S * 3 / 4
    mesh.told(proxy, replace(held("identity", TTL_S * 5 / 4, TTL_S), serial="beef"))
    found = mesh.only("identity")
    assert (found.severity, found.serial) == (Severity.OK, "beef")
    mesh.told(proxy, replace(held("identity", TTL_S / 2, TTL_S), serial="beef"))
    assert mesh.only("identity").serial != "beef"


def test_a_plain_envoy_has_what_it_was_given_and_an_unknown_clock(mesh: Mesh) -> None:
    mesh.proxy("envoy-1", agent=False)
    given = mesh.keys.held(CART)
    assert given is not None
    assert mesh.only("identity").serial == f"{given.leaf.serial_number:x}"
    mesh.keys.forget(CART)
    assert "unknown" in mesh.only("identity").text
    mesh.now = NOW + SILENT_AFTER_S + 1
    clock = mesh.only("clock")
    assert (clock.severity, clock.clock_ahead_s) == (Severity.OK, None)
    assert "unknown" in clock.text


@pytest.mark.parametrize(
    ("ahead_s", "expected"),
    [
        (0.0, Severity.OK),
        (29.0, Severity.OK),
        (31.0, Severity.WARNING),
        (-31.0, Severity.WARNING),
        (-61.0, Severity.ERROR),
        (299.0, Severity.WARNING),
        (3600.0, Severity.ERROR),
        (-3600.0, Severity.ERROR),
    ],
)
def test_a_clock_is_judged_by_the_life_of_leaves(
    mesh: Mesh, ahead_s: float, expected: Severity
) -> None:
    """Those of ten minutes are back-dated by one."""
    mesh.told(mesh.proxy(), held("identity", TTL_S, TTL_S), ahead_s=ahead_s)
    clock = mesh.only("clock")
    assert (clock.severity, clock.clock_ahead_s) == (expected, ahead_s)
    assert bool(clock.breaks) is (expected is not Severity.OK)


def test_who_does_not_report_any_more_has_an_unknown_clock(mesh: Mesh) -> None:
    proxy = mesh.proxy()
    assert mesh.only("clock").severity is Severity.OK
    mesh.now = NOW + FIRST_REPORT_S + 1
    assert mesh.only("clock").severity is Severity.WARNING
    mesh.told(proxy)
    assert mesh.only("clock").severity is Severity.OK
    mesh.now += SILENT_AFTER_S + 1
    assert mesh.only("clock").severity is Severity.WARNING
    assert mesh.only("clock").clock_ahead_s is None


def test_certificates_of_gateways_and_strange_roots_are_judged_where_they_are_used(
    mesh: Mesh,
) -> None:
    proxy = mesh.proxy()
    known = held("trust", DAY_S, 9 * DAY_S, fingerprint(AUTHORITY.root))
    mesh.told(proxy, held("certificate", DAY_S, 9 * DAY_S), known, held("trust", -1.0, DAY_S))
    served = mesh.only("served")
    assert (served.severity, served.where) == (Severity.WARNING, proxy.id)
    assert "shop.example in edge (/certs/edge.pem)" in served.text
    assert served.used_by == "listener edge"
    (root,) = [one for one in mesh.find("trust") if one.where == proxy.id]
    assert root.severity is Severity.ERROR


@pytest.mark.parametrize(
    ("days", "expected"),
    [(366, Severity.OK), (364, Severity.WARNING), (-1, Severity.ERROR)],
)
def test_the_root_of_others_is_warned_of_in_its_last_year(
    mesh: Mesh, days: int, expected: Severity
) -> None:
    proxy = mesh.proxy()
    mesh.told(proxy, held("trust", days * DAY_S, 20 * 365 * DAY_S))
    (root,) = [one for one in mesh.find("trust") if one.where == proxy.id]
    assert root.severity is expected
    assert ("less than a third" in root.text) is (expected is Severity.WARNING)


def test_a_bundle_that_was_refused_or_not_acknowledged_is_named(mesh: Mesh) -> None:
    proxy = mesh.proxy()
    proxy.acknowledges = False
    mesh.authority.swap(stored(AUTHORITY, OTHER))
    assert mesh.only("bundle").severity is Severity.WARNING
    proxy.look()
    proxy.answer("no memory")
    refused = mesh.only("bundle")
    assert (refused.severity, "no memory" in refused.text) == (Severity.ERROR, True)


def test_who_is_away_is_named_until_its_certificate_ends(mesh: Mesh) -> None:
    mesh.proxy().go()
    assert mesh.only("away").severity is Severity.OK
    mesh.now = NOW + TTL_S * 3 / 4
    assert mesh.only("away").severity is Severity.WARNING
    mesh.now = NOW + TTL_S
    assert mesh.find("away") == []


def test_nobody_reports_for_another_and_who_left_is_forgotten(mesh: Mesh) -> None:
    proxy = mesh.proxy()
    thief = replace(CART, path="/ns/default/sa/thief")
    report = Report(NOW, 0.0, ())
    assert "no discovery stream" in mesh.reports.take(proxy.id, thief, report)
    assert "no discovery stream" in mesh.reports.take("nobody", CART, report)
    assert mesh.reports.of(proxy.connection) is None
    mesh.told(proxy)
    proxy.go()
    mesh.reports.forget_absent()
    assert mesh.reports.of(proxy.connection) is None
