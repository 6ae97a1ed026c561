"""Rotations on disk: what is trusted and who signs after each step, and after every crash."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from certs import steps
from certs.authority import Authority
from certs.bundle import TrustBundle
from certs.errors import CertificateError
from certs.issue_log import Issued, IssueLog
from certs.keys import generate_key
from certs.rotation import Phase
from certs.spiffe import SpiffeId
from certs.store import StoredAuthority, load_store, open_store
from certs.x509 import check_chain_order, public_key

NOW = 1_800_000_000.0
DAY_S = 86400.0
LEAF = SpiffeId("td", "/a")


def rotate(state: Path, new: Authority) -> StoredAuthority:
    """The whole way; each step may have been done already."""
    steps.stage(state, NOW, new)
    steps.prepare(state, new.id, NOW)
    steps.issue(state, new.id, NOW)
    return steps.retire(state, new.id, NOW, acknowledged=True)


def test_the_whole_way(tmp_path: Path) -> None:
    old = open_store(tmp_path, "td", NOW).authority
    new = Authority.create("td", NOW)
    staged = steps.stage(tmp_path, NOW, new)
    assert (staged.state.phase, staged.authority.id) == (Phase.STAGED, old.id)
    assert staged.other is not None
    assert staged.other.id == new.id
    assert staged.bundle == old.bundle
    prepared = steps.prepare(tmp_path, new.id, NOW)
    assert (prepared.state.phase, prepared.authority.id) == (Phase.PREPARED, old.id)
    assert prepared.bundle.roots == (old.root, new.root)
    issuing = steps.issue(tmp_path, new.id, NOW)
    assert (issuing.state.phase, issuing.authority.id) == (Phase.ISSUING, new.id)
    assert issuing.bundle.roots == (new.root, old.root)
    assert TrustBundle.load(tmp_path / "root.pem") == issuing.bundle
    done = steps.retire(tmp_path, new.id, NOW, acknowledged=True)
    assert (done.state.phase, done.authority.id, done.other) == (Phase.STEADY, new.id, None)
    assert done.bundle.roots == (new.root,)
    assert TrustBundle.load(tmp_path / "root.pem") == done.bundle
    assert not (tmp_path / "ca" / old.id).exists()
    assert open_store(tmp_path, "td", NOW).authority.id == new.id


def test_another_intermediate_changes_no_trust(tmp_path: Path) -> None:
    root = Authority.create("td", NOW)
    open_store(tmp_path, "td", NOW)
    first, second = root.create_intermediate(NOW), root.create_intermediate(NOW + 1)
    rotate(tmp_path, first)
    steps.stage(tmp_path, NOW, second)
    assert steps.prepare(tmp_path, second.id, NOW).bundle.roots == (root.root,)
    stored = steps.issue(tmp_path, second.id, NOW)
    chain = stored.authority.sign(generate_key().public_key(), LEAF, 60, NOW + 1)
    assert chain[1:] == (second.certificate, root.certificate)


def test_the_old_root_vouches_for_the_new_one(tmp_path: Path) -> None:
    old = open_store(tmp_path, "td", NOW).authority
    new = Authority.create("td", NOW)
    assert rotate(tmp_path, new).cross != ()
    (cross,) = load_store(tmp_path, NOW).cross
    leaf, _ = new.sign(generate_key().public_key(), LEAF, 60, NOW)
    check_chain_order((leaf, cross, old.certificate))
    assert public_key(cross) == public_key(new.root)
    assert cross.subject == new.root.subject


def test_no_cross_certificate_where_path_lengths_forbid_it(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    below = Authority.create("td", NOW).create_intermediate(NOW)
    assert steps.stage(tmp_path, NOW, below).cross == ()
    assert rotate(tmp_path, below).cross == ()


def test_a_damaged_cross_certificate_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    new = Authority.create("td", NOW)
    rotate(tmp_path, new)
    path = tmp_path / "ca" / new.id / "cross-cert.pem"
    Authority.create("td", NOW).bundle.save(path)
    with pytest.raises(CertificateError, match=r"cross-cert\.pem does not belong to"):
        load_store(tmp_path, NOW)


def test_an_expired_authority_can_still_be_replaced(tmp_path: Path) -> None:
    old = open_store(tmp_path, "td", NOW).authority
    late = old.not_after + DAY_S
    with pytest.raises(CertificateError, match="weft ca rotate"):
        open_store(tmp_path, "td", late)
    new = Authority.create("td", late)
    steps.stage(tmp_path, late, new)
    steps.prepare(tmp_path, new.id, late)
    steps.issue(tmp_path, new.id, late)
    assert open_store(tmp_path, "td", late).authority.id == new.id


def test_leaves_of_the_old_one_hold_it(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    log = IssueLog(tmp_path / "ca")
    log.record(Issued("1", "spiffe://td/a", "admin", NOW + 7 * DAY_S, NOW))
    log.close()
    new = Authority.create("td", NOW)
    steps.stage(tmp_path, NOW, new)
    steps.prepare(tmp_path, new.id, NOW)
    assert steps.issue(tmp_path, new.id, NOW).state.drained_at == NOW + 7 * DAY_S
    with pytest.raises(CertificateError, match="make sure that every proxy has renewed"):
        steps.retire(tmp_path, new.id, NOW + 7 * DAY_S - 1, acknowledged=False)
    steps.retire(tmp_path, new.id, NOW + 7 * DAY_S, acknowledged=False)


def test_an_authority_of_another_trust_domain_is_not_staged(tmp_path: Path) -> None:
    before = open_store(tmp_path, "td", NOW)
    with pytest.raises(CertificateError, match="trust domain other, not td"):
        steps.stage(tmp_path, NOW, Authority.create("other", NOW))
    assert load_store(tmp_path, NOW).state == before.state
    assert len(list((tmp_path / "ca").iterdir())) == 2


def test_a_refused_step_changes_nothing(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    new = Authority.create("td", NOW)
    steps.stage(tmp_path, NOW, new)
    before = (tmp_path / "ca" / "state.json").read_bytes()
    with pytest.raises(CertificateError, match="prepare it"):
        steps.issue(tmp_path, new.id, NOW)
    with pytest.raises(CertificateError, match="issue from the new one"):
        steps.retire(tmp_path, new.id, NOW, acknowledged=True)
    with pytest.raises(CertificateError, match="is under way"):
        steps.stage(tmp_path, NOW, Authority.create("td", NOW))
    assert (tmp_path / "ca" / "state.json").read_bytes() == before
    assert len(list((tmp_path / "ca").iterdir())) == 3


def test_giving_up(tmp_path: Path) -> None:
    old = open_store(tmp_path, "td", NOW).authority
    new = Authority.create("td", NOW)
    steps.stage(tmp_path, NOW, new)
    steps.prepare(tmp_path, new.id, NOW)
    dropped = steps.abort(tmp_path, new.id, NOW)
    assert dropped.bundle == old.bundle
    assert not (tmp_path / "ca" / new.id).exists()
    # Once dropped, the same one may come again.
    steps.stage(tmp_path, NOW, new)
    steps.prepare(tmp_path, new.id, NOW)
    steps.issue(tmp_path, new.id, NOW)
    back = steps.abort(tmp_path, new.id, NOW)
    assert (back.authority.id, back.bundle.roots) == (old.id, (old.root, new.root))
    home = steps.retire(tmp_path, old.id, NOW, acknowledged=True)
    assert (home.authority.id, home.bundle) == (old.id, old.bundle)
    assert not (tmp_path / "ca" / new.id).exists()


# --------------------------------------------------------------------------------------- crashes


def die_before(call: int, work: Callable[[], object]) -> bool:
    """Runs it in a child that dies before the n-th change of a name on disk. True: it did."""
    child = os.fork()
    if child == 0:
        left = [call]

        def counted(real: Callable[..., None]) -> Callable[..., None]:
            def change(*args: object, **kwargs: object) -> None:
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                real(*args, **kwargs)

            return change

        for name in ("replace", "rename", "unlink", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed by itself"
    return os.WIFSIGNALED(status)


def test_killed_anywhere_it_goes_on_where_it_stood(tmp_path: Path) -> None:
    call, died = 0, True
    while died:
        call += 1
        state = tmp_path / str(call)
        old = open_store(state, "td", NOW).authority
        new = Authority.create("td", NOW)
        died = die_before(call, lambda state=state, new=new: rotate(state, new))  # type: ignore[misc]
        between = open_store(state, "td", NOW)
        assert {*TrustBundle.load(state / "root.pem").roots} <= {old.root, new.root}
        assert between.authority.root in between.bundle.roots
        done = rotate(state, new)
        assert (done.state.phase, done.authority.id) == (Phase.STEADY, new.id)
        assert TrustBundle.load(state / "root.pem").roots == (new.root,)
        assert not (state / "ca" / old.id / "ca-key.pem").exists()
    assert call > 10, "the rotation was never killed: what is tested then?"


def test_killed_while_it_is_made(tmp_path: Path) -> None:
    call, died = 0, True
    while died:
        call += 1
        state = tmp_path / str(call)
        died = die_before(call, lambda state=state: open_store(state, "td", NOW))  # type: ignore[misc]
        stored = open_store(state, "td", NOW)
        assert open_store(state, "td", NOW).authority.id == stored.authority.id
    assert call > 5


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    new = Authority.create("td", NOW)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    child = os.fork()
    if child == 0:
        # Writes beyond so many bytes fail as on a full disk.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            steps.stage(tmp_path, NOW, new)
        except CertificateError as error:
            os._exit(7 if "File too large" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert rotate(tmp_path, new).authority.id == new.id
