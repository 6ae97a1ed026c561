"""The steps of a rotation on disk: the store's lock, the new state synced, then root.pem.

Each may be repeated, and goes on where a killed one stopped. All block on the disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from certs import rotation
from certs.authority import Authority
from certs.cacerts import CACERTS, save_cacerts, save_lists
from certs.crl import RevocationList, check_not_listed, read_lists
from certs.errors import CertificateError
from certs.files import write_public
from certs.issue_log import read_issues
from certs.rotation import State
from certs.store import (
    CA_FOLDER,
    CROSS_PEM,
    StoredAuthority,
    commit,
    locked,
    publish,
    read_store,
)
from certs.x509 import chain_to_pem

USUAL_TTL_S = 24 * 3600
"""What leaves live at most unless somebody asked for more, and then the issue log has it."""


def stage(
    state_dir: Path, now: float, new: Authority, passphrase: bytes | None = None
) -> StoredAuthority:
    """Puts a new authority beside the one that signs; nobody trusts it yet."""

    def change(stored: StoredAuthority) -> State:
        if new.trust_domain != stored.authority.trust_domain:
            raise CertificateError(
                f"the new authority is of trust domain {new.trust_domain}, "
                f"not {stored.authority.trust_domain}"
            )
        state = rotation.stage(stored.state, new.id, now)
        if new.id in (stored.state.issuing, stored.state.other):
            return state
        folder = state_dir / CA_FOLDER / new.id
        save_cacerts(folder, new, passphrase)
        if cross := stored.authority.cross_sign(new, now):
            write_public(folder / CROSS_PEM, chain_to_pem(cross))
        return state

    return _step(state_dir, change, passphrase)


def prepare(
    state_dir: Path, target: str, now: float, passphrase: bytes | None = None
) -> StoredAuthority:
    """Trusts both: the bundle has the new roots, too. Push it, and wait until all have it."""
    return _step(state_dir, lambda stored: rotation.prepare(stored.state, target, now), passphrase)


def issue(
    state_dir: Path, target: str, now: float, passphrase: bytes | None = None
) -> StoredAuthority:
    """Signs with the new one."""
    drained_at = _drained_at(state_dir, now)
    return _step(
        state_dir, lambda stored: rotation.issue(stored.state, target, now, drained_at), passphrase
    )


def retire(
    state_dir: Path,
    target: str,
    now: float,
    *,
    acknowledged: bool,
    passphrase: bytes | None = None,
) -> StoredAuthority:
    """Drops the old one: its roots from the bundle, its key from the disk."""

    def change(stored: StoredAuthority) -> State:
        return rotation.retire(stored.state, target, now, acknowledged=acknowledged)

    return _step(state_dir, change, passphrase)


def abort(
    state_dir: Path, target: str, now: float, passphrase: bytes | None = None
) -> StoredAuthority:
    """Gives the rotation to `target` up; where it signs already, a rotation back has begun."""
    drained_at = _drained_at(state_dir, now)
    return _step(
        state_dir, lambda stored: rotation.abort(stored.state, target, now, drained_at), passphrase
    )


def relist(
    state_dir: Path, pem: bytes, what: str, now: float, passphrase: bytes | None = None
) -> StoredAuthority:
    """Puts revocation lists in the place of those that came with the authority that signs; without
    any there are none. `what` the text is, for messages. CertificateError: a bad list, one that is
    older than the one it replaces, or that names a certificate of the authority itself."""
    with locked(state_dir):
        stored = read_store(state_dir, passphrase)
        authority = stored.authority
        lists = read_lists(pem, what, (*authority.path, *authority.bundle.roots), now)
        check_not_listed(authority.path, lists)
        for one in lists:
            _check_newer(one, authority, what)
        save_lists(state_dir / CA_FOLDER / authority.id, lists)
        later = rotation.after(stored.state, now)
        commit(state_dir, replace(stored.state, since=later), stored)
        return read_store(state_dir, passphrase)


def _check_newer(one: RevocationList, authority: Authority, what: str) -> None:
    for former in authority.lists:
        same = (former.issuer, former.key_id) == (one.issuer, one.key_id)
        if same and one.made_at < former.made_at:
            raise CertificateError(
                f"{what}: the list of {one.name!r} is older than the one in force"
            )


def _step(
    state_dir: Path,
    change: Callable[[StoredAuthority], State],
    passphrase: bytes | None,
) -> StoredAuthority:
    with locked(state_dir):
        stored = read_store(state_dir, passphrase)
        # A killed step may have left it behind.
        publish(state_dir, stored)
        state = change(stored)
        if state != stored.state:
            commit(state_dir, state, stored)
        following = read_store(state_dir, passphrase)
        publish(state_dir, following)
        _drop_retired(state_dir / CA_FOLDER, state)
    return following


def _drop_retired(folder: Path, state: State) -> None:
    """The key first: what is left behind by a crash is nothing to steal."""
    for name in state.retired:
        if name in (state.issuing, state.other):
            continue
        (folder / name / CACERTS.key).unlink(missing_ok=True)
        if (folder / name).exists():
            shutil.rmtree(folder / name)


def _drained_at(state_dir: Path, now: float) -> float:
    """When the last certificate ends that was issued until now."""
    ends = (issued.not_after for issued in read_issues(state_dir / CA_FOLDER))
    return max(now + USUAL_TTL_S, max(ends, default=now))
