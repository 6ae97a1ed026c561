"""What there is of certificates in a folder, when each ends, what depends on it, what breaks then.

For a state directory of the control plane, for an authority's folder (`cacerts` or
kubernetes.io/tls) and for a workload's (key.pem, cert-chain.pem, root-cert.pem). It reads, judges
and never repairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from math import inf
from pathlib import Path

from certs.authority import Authority
from certs.bundle import TrustBundle
from certs.cacerts import CRL_PEM, layout_of, load_cacerts
from certs.crl import RevocationList
from certs.describe import counted, left, rfc3339, span
from certs.errors import CertificateError
from certs.files import read_public, read_secret
from certs.issue_log import read_issues
from certs.keys import key_from_pem
from certs.path import check_signed
from certs.profiles import BACK_DATE_S
from certs.rotation import Phase
from certs.store import (
    CA_FOLDER,
    CROSS_PEM,
    ROOT_PEM,
    STATE_FILE,
    StoredAuthority,
    is_encrypted,
    load_store,
)
from certs.x509 import (
    Certificate,
    chain_from_pem,
    check_svid,
    matches_key,
    spiffe_id,
    subject_of,
    uri_sans,
    validity,
)

WARN_SHARE = 1 / 3
"""From when a third of its life is left, a certificate that nobody renews is worth a warning."""
REPLACE = "weft ca rotate replaces it without an interruption"

WORKLOAD = ("key.pem", "cert-chain.pem", "root-cert.pem")


class Severity(IntEnum):
    OK = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing and how it is. `not_after`: Unix seconds, 0 for what does not end."""

    severity: Severity
    what: str
    path: str
    text: str
    used_by: str = ""
    breaks: str = ""
    not_after: float = 0.0


def examine(folder: Path, now: float, passphrase: bytes | None = None) -> tuple[Finding, ...]:
    """The findings, the worst first. CertificateError if the folder holds nothing of ours."""
    if not folder.is_dir():
        what = "is not a directory" if folder.exists() else "does not exist"
        raise CertificateError(f"{folder} {what}: name a state directory with --state-dir")
    if (folder / CA_FOLDER).exists() or (folder / ROOT_PEM).exists():
        found = _state_directory(folder, now, passphrase)
    elif all((folder / name).exists() for name in WORKLOAD):
        found = _workload(folder, now)
    else:
        found = _cacerts(folder, now, passphrase)
    return tuple(sorted(found, key=lambda finding: -finding.severity))


def judge(
    what: str, path: Path, certificate: Certificate, now: float, used_by: str, breaks: str
) -> Finding:
    """How a certificate is that somebody has to replace by hand in time."""
    not_before, not_after = validity(certificate)
    severity = Severity.OK
    text = f"{subject_of(certificate) or 'no subject'}, ends {rfc3339(not_after)}"
    text += f" ({left(certificate, now)})"
    if now > not_after:
        severity, text = Severity.ERROR, f"{text}: it has expired"
    elif now < not_before:
        severity, text = Severity.ERROR, f"{text}: it is not valid yet, check the clock"
    elif not_after - now < WARN_SHARE * (not_after - not_before):
        severity, text = Severity.WARNING, f"{text}: less than a third of its life is left"
    return Finding(severity, what, str(path), text, used_by, breaks, not_after)


# ------------------------------------------------------------------------------ state directories


def _state_directory(state_dir: Path, now: float, passphrase: bytes | None) -> Iterator[Finding]:
    folder = state_dir / CA_FOLDER
    try:
        stored = load_store(state_dir, None, passphrase)
    except CertificateError as error:
        if passphrase is None and _is_encrypted(state_dir):
            yield Finding(Severity.WARNING, "authority", str(state_dir), f"not looked at: {error}")
            return
        yield _error("authority", state_dir, str(error), "the control plane does not start")
        for each in sorted(path.parent for path in folder.glob("*/ca-cert.pem")):
            yield from _cacerts(each, now, passphrase)
        return
    for found in _authority(folder / stored.state.issuing, stored.authority, now, "signs"):
        ends = found.not_after and found.severity is not Severity.OK
        yield replace(found, text=f"{found.text}: {REPLACE}") if ends else found
    if stored.other is not None:
        role = "retires" if stored.state.phase is Phase.ISSUING else "is to sign next"
        yield from _authority(folder / stored.state.other, stored.other, now, role)
    yield from _cross(folder / stored.state.issuing / CROSS_PEM, stored, now)
    yield from _rotation(folder / STATE_FILE, stored, now)
    yield _bundle(state_dir / ROOT_PEM, stored)
    yield _issued(folder, stored, now)
    yield from _strays(state_dir, stored)
    yield from _sidecars(state_dir, now)


def _is_encrypted(state_dir: Path) -> bool:
    try:
        return is_encrypted(state_dir)
    except CertificateError:
        return False


def _sidecars(state_dir: Path, now: float) -> Iterator[Finding]:
    """What the proxies of a laptop mesh keep. Those of a mesh that stands still may be old."""
    for path in sorted(state_dir.glob("sidecars/*/identity.pem")):
        try:
            leaf = chain_from_pem(read_secret(path), str(path))[0]
            what = f"certificate of {spiffe_id(leaf)}"
        except CertificateError as error:
            yield _error("certificate of a proxy", path, str(error), "the proxy must join anew")
            continue
        found = judge(what, path, leaf, now, "a proxy, which renews it", "its handshakes fail")
        gone = now > found.not_after
        yield replace(found, severity=Severity.OK, breaks="") if gone else found


def _rotation(path: Path, stored: StoredAuthority, now: float) -> Iterator[Finding]:
    state = stored.state
    if state.phase is Phase.STEADY:
        return
    text = f"rotation to {state.target} is {state.phase} since {rfc3339(state.since)}"
    if state.drained_at > now:
        text += f"; the old one's last leaf ends {rfc3339(state.drained_at)}"
    overdue = now > max(state.drained_at, state.since + 7 * 86400)
    severity = Severity.WARNING if overdue else Severity.OK
    text += ": finish or abort it (weft ca rotate)" if overdue else ""
    yield Finding(severity, "rotation", str(path), text)


def _cross(path: Path, stored: StoredAuthority, now: float) -> Iterator[Finding]:
    for certificate in stored.cross:
        used_by = "whoever was away during the rotation and knows only the root before"
        found = judge("cross certificate", path, certificate, now, used_by, "they must join anew")
        # Nothing is to be done about it: it serves as long as the old root does.
        yield replace(found, severity=Severity.OK)


def _bundle(path: Path, stored: StoredAuthority) -> Finding:
    used_by = "what clients of the control plane are started with"
    try:
        there = TrustBundle.load(path)
    except CertificateError as error:
        return _error("trust bundle", path, str(error), "clients cannot verify the control plane")
    if there != stored.bundle:
        text = "is not what the authority trusts: start the control plane to have it written anew"
        return Finding(Severity.ERROR, "trust bundle", str(path), text, used_by)
    return Finding(
        Severity.OK, "trust bundle", str(path), counted(len(there.roots), "root"), used_by
    )


def _issued(folder: Path, stored: StoredAuthority, now: float) -> Finding:
    issues = list(read_issues(folder))
    live = [issued for issued in issues if issued.not_after > now]
    last = max((issued.not_after for issued in live), default=0.0)
    workloads = counted(len({issued.identity for issued in live}), "workload")
    text = f"{counted(len(live), 'certificate')} of {workloads} in force"
    severity = Severity.OK
    if last > stored.authority.not_after:
        severity = Severity.WARNING
        text += ", some beyond the end of the authority that signs now"
    ahead = max((issued.at for issued in issues), default=now) - now
    if ahead > BACK_DATE_S:
        severity = Severity.WARNING
        text += f"; the latest was issued {span(ahead)} in the future: has the clock been set back?"
    what, breaks = "issued certificates", "the last one ends" if live else ""
    return Finding(severity, what, str(folder / "issued.log"), text, "workloads", breaks, last)


def _strays(state_dir: Path, stored: StoredAuthority) -> Iterator[Finding]:
    """Folders with keys that nothing refers to: a crash left them."""
    known = {stored.state.issuing, stored.state.other, CA_FOLDER}
    candidates = [*state_dir.glob(f".{CA_FOLDER}.*"), *(state_dir / CA_FOLDER).iterdir()]
    for path in sorted(candidates):
        if path.is_dir() and path.name not in known:
            text = "nothing refers to this folder, which may hold a key: delete it"
            yield Finding(Severity.WARNING, "left behind", str(path), text)


# ------------------------------------------------------------------------------ other folders


def _cacerts(folder: Path, now: float, passphrase: bytes | None) -> Iterator[Finding]:
    layout = layout_of(folder)
    try:
        authority = load_cacerts(folder, None, _trust_domain(folder), passphrase)
    except CertificateError as error:
        where = folder / layout.certificate
        yield _error("authority", where, str(error), "the control plane does not take it")
        return
    yield from _authority(folder, authority, now, "signs")


def _trust_domain(folder: Path) -> str:
    """What to load it for; it only matters for signing."""
    path = folder / layout_of(folder).certificate
    return "" if uri_sans(chain_from_pem(read_public(path), str(path))[0]) else "any.trust.domain"


def _authority(folder: Path, authority: Authority, now: float, role: str) -> Iterator[Finding]:
    layout = layout_of(folder)
    for number, certificate in enumerate(authority.path):
        root = certificate == authority.root
        what = ("root" if root else "issuing certificate" if not number else "intermediate") + (
            f" ({role})"
        )
        breaks = "every handshake of the mesh fails" if role == "signs" else ""
        name = layout.roots if root else layout.certificate if not number else layout.chain
        used_by = "every proxy, to verify its peers" if root else "every leaf that it has signed"
        yield judge(what, folder / (name or layout.certificate), certificate, now, used_by, breaks)
    for more in authority.bundle.roots:
        if more != authority.root:
            yield judge(
                "further root", folder / layout.roots, more, now,
                "peers whose certificates it has signed", "they are refused",
            )  # fmt: skip
    for one in authority.lists:
        yield _list(folder / CRL_PEM, authority, one, now)
    yield Finding(
        Severity.OK, "private key", str(folder / layout.key), "fits its certificate", "signing"
    )


def _list(path: Path, authority: Authority, one: RevocationList, now: float) -> Finding:
    severity, text = judge_list(authority, one, now)
    used_by = "every proxy, to refuse what it names"
    breaks = "" if one.is_of(authority.certificate) else "what it names is refused no more"
    not_after = one.ends_at if breaks and one.ends_at < inf else 0.0
    return Finding(severity, "revocation list", str(path), text, used_by, breaks, not_after)


def judge_list(authority: Authority, one: RevocationList, now: float) -> tuple[Severity, str]:
    """How a list is that came with the authority, and what is to be said of it."""
    text = f"by {one.name!r}: {counted(len(one.serials), 'certificate')} revoked"
    if not one.verified:
        text += "; its issuer is not known here, so that only proxies verify it"
    if one.is_of(authority.certificate):
        return Severity.OK, f"{text}; what it says stands in the list that we sign, without end"
    if one.ends_at == inf:
        return Severity.OK, f"{text}, without end"
    text += f", ends {rfc3339(one.ends_at)}"
    renew = "bring a newer one (weft ca revoke --crl FILE)"
    if one.ends_at <= now:
        return Severity.ERROR, f"{text}: it has ended and is looked at no more: {renew}"
    if one.ends_at - now < WARN_SHARE * (one.ends_at - one.made_at):
        return Severity.WARNING, f"{text}: less than a third of its life is left: {renew}"
    return Severity.OK, text


def _workload(folder: Path, now: float) -> Iterator[Finding]:
    """Istio's files of a workload, which its agent renews: warned of later than authorities."""
    key_path, chain_path, roots_path = (folder / name for name in WORKLOAD)
    try:
        chain = chain_from_pem(read_public(chain_path), str(chain_path))
        identity = check_svid(chain)
        if not matches_key(chain[0], key_from_pem(read_secret(key_path)).public_key()):
            raise CertificateError(f"{key_path} is not the key of {chain_path}")
        bundle = TrustBundle.load(roots_path)
        check_signed(chain, bundle.roots)
    except CertificateError as error:
        yield _error("workload certificate", folder, str(error), "its handshakes fail")
        return
    yield judge(f"certificate of {identity}", chain_path, chain[0], now, "the workload",
                "its handshakes fail")  # fmt: skip
    for root in bundle.roots:
        yield judge("root", roots_path, root, now, "the workload, to verify its peers",
                    "peers below it are refused")  # fmt: skip


def _error(what: str, path: Path, text: str, breaks: str) -> Finding:
    return Finding(Severity.ERROR, what, str(path), text, "", f"now: {breaks}")


def report(findings: tuple[Finding, ...], now: float) -> str:
    """A paragraph for each finding."""
    words = {Severity.OK: "ok", Severity.WARNING: "WARNING", Severity.ERROR: "ERROR"}
    paragraphs = []
    for found in findings:
        rows = [f"{words[found.severity]:8}{found.what}: {found.text}", f"        {found.path}"]
        if found.used_by:
            rows.append(f"        used by: {found.used_by}")
        if found.breaks:
            when = f"in {span(found.not_after - now)}: " if found.not_after > now else ""
            rows.append(f"        what breaks: {when}{found.breaks}")
        paragraphs.append("\n".join(rows))
    return "\n".join(paragraphs)
