"""Looks at everything that ends in a running mesh: the authority, foreign bundles, and every proxy
with what it holds, whom it believes and how its clock goes.

What is its own it knows; of a Weft proxy it knows what that has reported, of a plain Envoy what it
was pushed. What nobody can know is said to be unknown. PURE: it reads, judges and never repairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf

from certs.authority import Authority
from certs.crl import RevocationList
from certs.describe import counted, rfc3339, span
from certs.doctor import REPLACE, WARN_SHARE, Severity, judge_list
from certs.profiles import BACK_DATE_S, BACK_DATE_SHARE
from certs.x509 import Certificate, fingerprint, spiffe_id, subject_of, validity
from controlplane.ca.envoy_secrets import EnvoySecrets
from controlplane.ca.live import LiveAuthority
from controlplane.ca.server_credentials import ServingCertificate
from controlplane.doctor.credentials import look_at
from controlplane.doctor.findings import Finding, Kind, Life
from controlplane.doctor.reports import Held, Report, Reports
from controlplane.emit import names
from controlplane.mesh.credentials import Credential
from controlplane.rotation.roster import Absent, Roster
from controlplane.xds.service import Connection
from protos.frozen import frozen
from protos.types import SDS

CONTROL_PLANE = "control plane"
REPORT_EVERY_S = 600.0
"""How often proxies report at least."""
SILENT_AFTER_S = 3 * REPORT_EVERY_S
FIRST_REPORT_S = 60.0
"""Within this time of its connecting a proxy has reported."""
LEAST_SKEW_S = 2.0
"""What a message may be on its way for is no skew."""

_RENEWS = "renewed by itself at half of its life"
_HANDSHAKES = "its handshakes fail"


@frozen
class Patients:
    """Everything that is looked at. keys None: plain Envoys get none from us. root_version: of the
    SDS secret ROOTCA as it is now. ttl_s: how long leaves live. unheeded: why revocation lists are
    not looked at everywhere, '' if they are. credentials: what users bring."""

    authority: LiveAuthority
    serving: ServingCertificate
    foreign: Callable[[], Mapping[str, tuple[Certificate, ...]]]
    roster: Roster
    reports: Reports
    keys: EnvoySecrets | None
    root_version: Callable[[], str]
    ttl_s: float
    unheeded: Callable[[], str] = str
    credentials: Callable[[], Iterable[Credential]] = tuple


class Doctor:
    __slots__ = ("_all",)

    def __init__(self, patients: Patients) -> None:
        self._all = patients

    def examine(self, now: float) -> Iterator[Finding]:
        """Every finding, as it comes: whoever takes them may do other things in between."""
        yield from self._authority(now)
        yield from self._foreign(now)
        yield from look_at(self._all.credentials(), now)
        ours = {fingerprint(root) for root in self._all.authority.bundle.roots}
        ours |= {fingerprint(one) for roots in self._all.foreign().values() for one in roots}
        for connection in tuple(self._all.roster.connected().values()):
            yield from self._proxy(connection, ours, now)
        for one in self._all.roster.absent():
            yield self._away(one, now)

    # ------------------------------------------------------------------ the authority

    def _authority(self, now: float) -> Iterator[Finding]:
        live = self._all.authority
        stored = live.stored
        connected = counted(len(self._all.roster.connected()), "discovery stream")
        used_by = f"every certificate that it has signed; {connected} now"
        for authority in (stored.authority, *((stored.other,) if stored.other else ())):
            signs = authority is stored.authority
            breaks = "every handshake of the mesh fails" if signs else ""
            for certificate in authority.path:
                role = "signs" if signs else "is the other one of the rotation"
                where = (CONTROL_PLANE, certificate, now, used_by, breaks, role)
                yield _judge("authority", *where, REPLACE if signs else "")
            for one in authority.lists:
                yield _list(authority, one, now)
        if why := self._all.unheeded():
            yield Finding(Severity.WARNING, "crl", CONTROL_PLANE, why)
        known = {*stored.authority.path, *(stored.other.path if stored.other else ())}
        for root in live.bundle.roots:
            if root not in known:
                used_by = "peers whose certificates it has signed"
                yield _judge("trust", CONTROL_PLANE, root, now, used_by, "they are refused")
        for certificate in live.cross(now):
            used_by = "whoever knows only the root before, and was away during the rotation"
            found = _judge("cross", CONTROL_PLANE, certificate, now, used_by, "it must join anew")
            yield _calm(found)  # it serves as long as the old root does, and nobody renews it
        serving = self._all.serving.current().leaf
        used_by = "every proxy, to verify the control plane"
        breaks = "configuration and certificates come to nobody"
        yield _judge("serving", CONTROL_PLANE, serving, now, used_by, breaks, _RENEWS)

    def _foreign(self, now: float) -> Iterator[Finding]:
        for domain, roots in self._all.foreign().items():
            for root in roots:
                used_by = f"connections with workloads of {domain}"
                where = f"trust domain {domain}"
                yield _judge("trust", where, root, now, used_by, "those below it are refused")

    # ------------------------------------------------------------------ proxies

    def _proxy(self, connection: Connection, ours: set[str], now: float) -> Iterator[Finding]:
        report = self._all.reports.of(connection)
        leaf = self._leaf(connection, report)
        yield self._identity(connection, leaf, now)
        yield _clock(connection, report, leaf, now)
        yield self._bundle(connection, report)
        for one in report.held if report is not None else ():
            if one.kind == "certificate" or (one.kind == "trust" and one.sha256 not in ours):
                yield _held(connection, one, now)

    def _leaf(self, connection: Connection, report: Report | None) -> Held | None:
        """What it shows its peers: as we have given it, or the younger of what it has reported
        and what its stream came with; after a renewal there is one before the other."""
        seen = connection.leaf
        if self._all.keys is not None and not connection.node.weft_agent:
            given = self._all.keys.held(connection.identity)
            seen = given.leaf if given is not None else seen
        known = [_seen(seen)] if seen is not None else []
        if report is not None:
            known += [held for held in report.held if held.kind == "identity"]
        return max(known, key=lambda one: one.life.not_before, default=None)

    def _identity(self, connection: Connection, leaf: Held | None, now: float) -> Finding:
        node_id, identity = connection.node.id, str(connection.identity)
        if leaf is None:
            text = "its certificate is unknown: it came by token and reports nothing"
            return Finding(Severity.OK, "identity", node_id, text, identity=identity)
        severity, text = leaf.life.judge(now)
        text = f"{leaf.name} (serial {leaf.serial}, issued by {leaf.issuer}) {text}"
        if severity is not Severity.OK:
            text += "; it should have been renewed at half of its life: see its log"
        used_by = ", ".join(leaf.used_by) or "its listeners and clusters with mutual TLS"
        return Finding(
            severity, "identity", node_id, text, used_by, _HANDSHAKES,
            leaf.serial, leaf.name, leaf.issuer, leaf.life,
        )  # fmt: skip

    def _bundle(self, connection: Connection, report: Report | None) -> Finding:
        node_id = connection.node.id
        held = report.held if report is not None else ()
        trusted = {one.sha256 for one in held if one.kind == "trust"}
        told = f", {counted(len(trusted), 'root')} in all its TLS" if trusted else ""
        version = connection.machine.held(SDS, names.ROOT_SECRET)
        if (why := connection.machine.rejections.get(SDS, {}).get(names.ROOT_SECRET)) is not None:
            text, breaks = f"refuses the trust bundle: {why}", "it refuses its peers"
            return Finding(Severity.ERROR, "bundle", node_id, text, breaks=breaks)
        if version is None:
            return Finding(Severity.OK, "bundle", node_id, f"asks for no trust bundle{told}")
        if version == self._all.root_version():
            return Finding(Severity.OK, "bundle", node_id, f"trusts what the mesh trusts{told}")
        text = "has not acknowledged the trust bundle of now"
        return Finding(Severity.WARNING, "bundle", node_id, text, breaks="new peers are refused")

    def _away(self, one: Absent, now: float) -> Finding:
        left_s = one.until - now
        text = f"not connected for {span(now - one.seen_at)}, may serve until {rfc3339(one.until)}"
        late = left_s < WARN_SHARE * self._all.ttl_s
        text += ", and does not renew its certificate" if late else ""
        severity = Severity.WARNING if late else Severity.OK
        life = Life(one.until - self._all.ttl_s, one.until)
        return Finding(
            severity, "away", one.node_id, text, "its peers", _HANDSHAKES,
            identity=one.identity, life=life,
        )  # fmt: skip


def _judge(
    kind: Kind,
    where: str,
    certificate: Certificate,
    now: float,
    used_by: str,
    breaks: str,
    role: str = "",
    renewal: str = "",
) -> Finding:
    """renewal: what to do about its end."""
    held = _seen(certificate)
    severity, text = held.life.judge(now)
    text = f"{held.name}{f' ({role})' if role else ''} {text}"
    text += f": {renewal}" if renewal and severity is not Severity.OK else ""
    return Finding(
        severity, kind, where, text, used_by, breaks, held.serial, held.name, held.issuer, held.life
    )


def _list(authority: Authority, one: RevocationList, now: float) -> Finding:
    severity, text = judge_list(authority, one, now)
    ends = one.ends_at < inf and not one.is_of(authority.certificate)
    life = Life(one.made_at, one.ends_at) if ends else None
    breaks = "what it names is refused no more" if ends else ""
    used_by = "every proxy, to refuse what it names"
    return Finding(severity, "crl", CONTROL_PLANE, text, used_by, breaks, life=life)


def _calm(found: Finding) -> Finding:
    return Finding(
        Severity.OK, found.kind, found.where, found.text, found.used_by, found.breaks,
        found.serial, found.identity, found.issuer, found.life,
    )  # fmt: skip


def _seen(certificate: Certificate) -> Held:
    return Held(
        "identity", "", "", f"{certificate.serial_number:x}", fingerprint(certificate),
        certificate.issuer.rfc4514_string(),
        subject_of(certificate) or str(spiffe_id(certificate)), Life(*validity(certificate)), (),
    )  # fmt: skip


def _held(connection: Connection, one: Held, now: float) -> Finding:
    trust = one.kind == "trust"
    severity, text = one.life.judge_root(now) if trust else one.life.judge(now)
    text = f"{one.name} in {one.secret} ({one.source}) {text}"
    breaks = "peers below it are refused" if trust else "peers that it is shown to refuse it"
    return Finding(
        severity, "trust" if trust else "served", connection.node.id, text,
        ", ".join(one.used_by) or "nothing", breaks if one.used_by else "",
        one.serial, one.name, one.issuer, one.life,
    )  # fmt: skip


# ---------------------------------------------------------------------- clocks


def _clock(connection: Connection, report: Report | None, leaf: Held | None, now: float) -> Finding:
    node_id = connection.node.id
    silent_s = now - (report.received_at if report is not None else connection.connected_at)
    if report is None or silent_s > SILENT_AFTER_S:
        return _unknown(connection, report, silent_s)
    ahead_s = report.ahead_s
    severity, breaks = _judge_clock(ahead_s, leaf.life if leaf is not None else None)
    text = "goes with the control plane's"
    if abs(ahead_s) >= LEAST_SKEW_S:
        text = f"is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} ours"
    text = f"clock {text}" + (": set it right (NTP)" if severity else "")
    return Finding(severity, "clock", node_id, text, breaks=breaks, clock_ahead_s=ahead_s)


def _unknown(connection: Connection, report: Report | None, silent_s: float) -> Finding:
    node_id = connection.node.id
    if not connection.node.weft_agent:
        text = "clock unknown: a plain Envoy tells neither its time nor its files"
        return Finding(Severity.OK, "clock", node_id, text)
    if report is None and silent_s < FIRST_REPORT_S:
        return Finding(Severity.OK, "clock", node_id, "clock unknown: it has not reported yet")
    text = f"clock unknown: nothing was reported for {span(silent_s)}; see the log of the proxy"
    return Finding(Severity.WARNING, "clock", node_id, text)


def _judge_clock(ahead_s: float, life: Life | None) -> tuple[Severity, str]:
    """Leaves are back-dated by some minutes, for clocks that are behind; whoever is behind by more
    holds new certificates for not yet valid. Whoever is ahead by half a life holds those of others
    for expired before they are renewed."""
    life_s = life.not_after - life.not_before if life is not None else 2 * BACK_DATE_S
    tolerance_s = max(min(BACK_DATE_S, BACK_DATE_SHARE * life_s), LEAST_SKEW_S)
    if ahead_s < -tolerance_s:
        return Severity.ERROR, "it takes no new certificate, neither its own nor its peers'"
    if ahead_s > max(life_s / 2, tolerance_s):
        return Severity.ERROR, "it takes its peers' certificates for expired"
    if abs(ahead_s) > max(tolerance_s / 2, LEAST_SKEW_S):
        return Severity.WARNING, "handshakes, when it goes wrong by more"
    return Severity.OK, ""
