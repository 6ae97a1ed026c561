"""What `weft ca init|sign|show|rotate|doctor` do where no control plane runs.

Folders in, text out; the commands and their options are the front door's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from certs import steps
from certs.authority import Authority
from certs.cacerts import key_is_encrypted, layout_of, load_cacerts, save_cacerts
from certs.describe import counted, facts, lines, rfc3339
from certs.doctor import Finding
from certs.errors import CertificateError
from certs.files import create_secret, write_public
from certs.issue_log import Issued, IssueLog
from certs.keys import generate_key, key_to_pem
from certs.rotation import Phase
from certs.spiffe import SCHEME, SpiffeId
from certs.store import (
    CA_FOLDER,
    ROOT_PEM,
    StoredAuthority,
    create,
    load_state,
    load_store,
    locked,
    make_state_directory,
    open_store,
)
from certs.x509 import Certificate, chain_to_pem, validity

STEPS = ("prepare", "issue", "retire", "abort")


# ------------------------------------------------------------------------------------------- init


def init(
    state_dir: Path,
    trust_domain: str,
    now: float,
    *,
    source: Path | None = None,
    root_dir: Path | None = None,
    passphrase: bytes | None = None,
    state_passphrase: bytes | None = None,
) -> str:
    """Makes the authority of a state directory that has none, and says what it is.

    passphrase: of the key in `source` or `root_dir`. A key of `source` that was encrypted stays so:
    with state_passphrase, or else with the one that it came with.
    """
    if source is not None and passphrase and not state_passphrase and key_is_encrypted(source):
        state_passphrase = passphrase
    make_state_directory(state_dir)
    with locked(state_dir):
        for name in (CA_FOLDER, ROOT_PEM, "root.key"):
            if os.path.lexists(state_dir / name):
                raise CertificateError(
                    f"{state_dir / name} is there already: weft ca show says what it is, "
                    "weft ca rotate replaces it without an interruption"
                )
        authority = new_authority(trust_domain, now, source, root_dir, passphrase)
        create(state_dir, authority, now, state_passphrase)
    open_store(state_dir, trust_domain, now, state_passphrase)
    return f"authority {authority.id} of {trust_domain} signs; clients trust {state_dir / ROOT_PEM}"


def new_authority(
    trust_domain: str,
    now: float,
    source: Path | None = None,
    root_dir: Path | None = None,
    passphrase: bytes | None = None,
) -> Authority:
    """From a folder (`source`), below the root of `root_dir` (made if it is empty), or a new root.

    The passphrase is that of the key in either folder.
    """
    if source is not None:
        return load_cacerts(source, now, trust_domain, passphrase)
    if root_dir is None:
        return Authority.create(trust_domain, now)
    if root_dir.exists() and any(root_dir.iterdir()):
        root = load_cacerts(root_dir, now, trust_domain, passphrase)
    else:
        root = Authority.create(trust_domain, now)
        root_dir.parent.mkdir(parents=True, exist_ok=True)
        save_cacerts(root_dir, root, passphrase)
    return root.create_intermediate(now)


# ------------------------------------------------------------------------------------------- sign


def read_identity(text: str, trust_domain: str) -> SpiffeId:
    """`spiffe://...`, or `namespace/account` of the trust domain."""
    if text.startswith(SCHEME):
        return SpiffeId.parse(text)
    namespace, slash, account = text.partition("/")
    if not slash:
        raise CertificateError(f"identity {text!a} is neither spiffe://... nor NAMESPACE/ACCOUNT")
    return SpiffeId.workload(trust_domain, namespace, account)


def sign_csr(
    state_dir: Path,
    csr: bytes,
    identity: str,
    ttl_s: float,
    now: float,
    passphrase: bytes | None = None,
) -> bytes:
    """The chain (PEM, leaf first, without the root) for a CSR."""
    stored = load_store(state_dir, now, passphrase)
    who = read_identity(identity, stored.authority.trust_domain)
    chain = stored.authority.sign(csr, who, ttl_s, now)
    _record(state_dir, chain[0], who, now)
    return chain_to_pem(chain[:-1])


def sign_new_key(
    state_dir: Path,
    out: Path,
    identity: str,
    ttl_s: float,
    now: float,
    *,
    dns_names: Sequence[str] = (),
    ip_addresses: Sequence[str] = (),
    passphrase: bytes | None = None,
) -> str:
    """Makes key.pem, cert-chain.pem and root-cert.pem in `out`, as Istio's agents keep them."""
    stored = load_store(state_dir, now, passphrase)
    who = read_identity(identity, stored.authority.trust_domain)
    key = generate_key()
    chain = stored.authority.sign(
        key.public_key(), who, ttl_s, now, dns_names=dns_names, ip_addresses=ip_addresses
    )
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        create_secret(out / "key.pem", key_to_pem(key))
    except FileExistsError as error:
        raise CertificateError(
            f"{out / 'key.pem'} is there already: give another --out, or move it away"
        ) from error
    # What is not in the log must not be about.
    _record(state_dir, chain[0], who, now)
    write_public(out / "cert-chain.pem", chain_to_pem(chain[:-1]))
    stored.bundle.save(out / "root-cert.pem")
    return f"{out}: key and certificate of {who} until {rfc3339(validity(chain[0])[1])}"


def _record(state_dir: Path, leaf: Certificate, identity: SpiffeId, now: float) -> None:
    log = IssueLog(state_dir / CA_FOLDER)
    by = f"weft ca sign uid={os.getuid()}"
    log.record(Issued(f"{leaf.serial_number:x}", str(identity), by, validity(leaf)[1], now))
    log.close()


# ------------------------------------------------------------------------------------------- show


def show(folder: Path, now: float, passphrase: bytes | None = None) -> str:
    """For people: who signs, on what path, and every root that is trusted."""
    stored = _look(folder, passphrase)
    if isinstance(stored, Authority):
        return "\n\n".join(_paragraphs(stored, "signs", now))
    state, paragraphs = stored.state, []
    head = f"trust domain {stored.authority.trust_domain}, {state.phase}"
    if state.phase is not Phase.STEADY:
        head += f" since {rfc3339(state.since)}: rotation to {state.target}"
    paragraphs.append(head)
    paragraphs += _paragraphs(stored.authority, "signs", now)
    if stored.other is not None:
        trusted = state.other in state.trusted
        paragraphs += _paragraphs(stored.other, "trusted" if trusted else "staged", now)
    return "\n\n".join(paragraphs)


def show_json(folder: Path, passphrase: bytes | None = None) -> str:
    """For programs."""
    stored = _look(folder, passphrase)
    if isinstance(stored, Authority):
        return _json({"authority": _authority(stored)})
    state = stored.state
    return _json(
        {
            "trust_domain": stored.authority.trust_domain,
            "phase": state.phase,
            "target": state.target,
            "since": rfc3339(state.since),
            "drained_at": rfc3339(state.drained_at) if state.drained_at else None,
            "authority": _authority(stored.authority),
            "other": _authority(stored.other) if stored.other else None,
            "trusted_roots": [facts(root) for root in stored.bundle.roots],
        }
    )


def _look(folder: Path, passphrase: bytes | None) -> StoredAuthority | Authority:
    """A state directory, or an authority's folder by itself."""
    if (folder / CA_FOLDER).exists():
        return load_store(folder, None, passphrase)
    try:
        layout_of(folder)
    except CertificateError as error:
        raise CertificateError(
            f"{folder} has no certificate authority: neither a state directory ({CA_FOLDER}/) nor "
            "a folder with ca-cert.pem or tls.crt; see --state-dir"
        ) from error
    return load_cacerts(folder, None, "", passphrase)


def _paragraphs(authority: Authority, role: str, now: float) -> list[str]:
    """The issuing certificate, what links it, the roots."""
    named = [(authority.certificate, f"{role}, authority {authority.id}")]
    named += [(one, "intermediate") for one in authority.intermediates[1:]]
    named += [(root, "root") for root in authority.bundle.roots if root != authority.certificate]
    paragraphs = ["\n".join([f"[{title}]", *lines(one, now)]) for one, title in named]
    return [*paragraphs, told_lists(authority)] if authority.lists else paragraphs


def _authority(authority: Authority) -> dict[str, Any]:
    return {
        "id": authority.id,
        "path": [facts(one) for one in authority.path],
        "roots": [facts(root) for root in authority.bundle.roots],
        "ends": rfc3339(authority.not_after),
    }


def findings_json(findings: Sequence[Finding]) -> str:
    rows = [
        {
            **asdict(found),
            "severity": found.severity.name.lower(),
            "not_after": rfc3339(found.not_after) if found.not_after else None,
        }
        for found in findings
    ]
    return _json(rows)


def _json(value: object) -> str:
    return json.dumps(value, indent=2)


# ----------------------------------------------------------------------------------------- rotate


def stage(
    state_dir: Path,
    now: float,
    source: Path | None = None,
    root_dir: Path | None = None,
    passphrase: bytes | None = None,
    state_passphrase: bytes | None = None,
) -> str:
    """The id of the authority to rotate to: the one under way, or a new one, now staged.

    passphrase: of the key in `source` or `root_dir`."""
    stored = load_store(state_dir, None, state_passphrase)
    if stored.state.target:
        if source is not None or root_dir is not None:
            raise CertificateError(
                f"a rotation to {stored.state.target} is under way ({stored.state.phase}): "
                "go on without --from and --root-dir, or abort it"
            )
        return stored.state.target
    domain = stored.authority.trust_domain
    if source is not None and not state_passphrase and key_is_encrypted(source):
        raise CertificateError(
            f"the key in {source} is encrypted, and those of {state_dir} are not: start the "
            "control plane with --state-passphrase-file, which encrypts them, and give it here, too"
        )
    new = new_authority(domain, now, source, root_dir, passphrase)
    if new.id == stored.authority.id:
        raise CertificateError(f"{source} is the authority that signs already: nothing to rotate")
    steps.stage(state_dir, now, new, state_passphrase)
    return new.id


def relist(
    state_dir: Path, pem: bytes, what: str, now: float, passphrase: bytes | None = None
) -> str:
    """Takes the revocation lists of other issuers, or of the authority's own keeper."""
    return told_lists(steps.relist(state_dir, pem, what, now, passphrase).authority)


def told_lists(authority: Authority) -> str:
    """Which lists count now."""
    if not authority.lists:
        return "no revocation list came with the authority"
    rows = [f"{one.name}: {counted(len(one.serials), 'certificate')}" for one in authority.lists]
    return "revoked by the lists that came with the authority:\n  " + "\n  ".join(rows)


def target_of(state_dir: Path) -> str:
    """The authority that the rotation under way leads to; CertificateError if there is none."""
    if target := load_state(state_dir).target:
        return target
    raise CertificateError(f"no rotation is under way in {state_dir}: weft ca rotate begins one")


def step(
    state_dir: Path,
    name: str,
    now: float,
    *,
    acknowledged: bool,
    passphrase: bytes | None = None,
) -> str:
    """One step of the rotation under way; says what has to be seen to before the next one."""
    target = target_of(state_dir)
    if name == "prepare":
        stored = steps.prepare(state_dir, target, now, passphrase)
    elif name == "issue":
        stored = steps.issue(state_dir, target, now, passphrase)
    elif name == "retire":
        stored = steps.retire(
            state_dir, target, now, acknowledged=acknowledged, passphrase=passphrase
        )
    else:
        stored = steps.abort(state_dir, target, now, passphrase)
    return _following(stored, state_dir)


def status(state_dir: Path, passphrase: bytes | None = None) -> str:
    """How far the rotation is, and what is next."""
    return _following(load_store(state_dir, None, passphrase), state_dir)


def _following(stored: StoredAuthority, state_dir: Path) -> str:
    state = stored.state
    roots = f"{counted(len(stored.bundle.roots), 'root')} in {state_dir / ROOT_PEM}"
    if state.phase is Phase.STAGED:
        return f"{state.target} is staged; nobody trusts it yet. Next: --step prepare"
    if state.phase is Phase.PREPARED:
        return (
            f"both are trusted ({roots}), {state.issuing} still signs. "
            "When every proxy has the new roots: --step issue"
        )
    if state.phase is Phase.ISSUING:
        return (
            f"{state.issuing} signs, both are trusted ({roots}). When every proxy has renewed, "
            f"at the latest {rfc3339(state.drained_at)}: --step retire"
        )
    return f"{state.issuing} signs and is all that is trusted ({roots})"
