"""An authority that somebody else keeps in a folder, taken as it changes there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from certs.authority import Authority
from certs.cacerts import load_cacerts, save_cacerts
from certs.errors import CertificateError
from certs.files import write_secret
from certs.keys import key_to_pem
from certs.store import load_store, open_store
from certs.x509 import chain_to_pem
from controlplane.ca.authority_files import AuthorityFiles, adopt
from controlplane.ca.live import LiveAuthority
from tests.support.control_plane import ControlPlane
from tests.support.wait import eventually

NOW = 1_800_000_000.0
ROOT = Authority.create("td", NOW)
FIRST, SECOND, THIRD = (ROOT.create_intermediate(NOW) for _ in range(3))


class Mount:
    """A secret as the kubelet mounts it: files are links into a generation, which is swapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._number = 0

    def swap(self, authority: Authority) -> None:
        """As cert-manager writes a kubernetes.io/tls secret with ca.crt."""
        self._number += 1
        generation = self.folder / f"..{self._number}"
        generation.mkdir()
        chain = (authority.certificate, *authority.intermediates[1:])
        lists = b"".join(one.pem for one in authority.lists)
        for name, data in (
            ("ca-crl.pem", lists),
            ("tls.crt", chain_to_pem(chain)),
            ("tls.key", key_to_pem(authority._key)),
            ("ca.crt", authority.bundle.to_pem()),
        ):
            (generation / name).write_bytes(data)
            (generation / name).chmod(0o600)
            if self._number == 1:
                (self.folder / name).symlink_to(Path("..data", name))
        new = self.folder / "..data_tmp"
        new.symlink_to(generation.name)
        os.rename(new, self.folder / "..data")


class Rotations:
    """Stands for the conductor: remembers what was begun; busy while it is told to be."""

    def __init__(self) -> None:
        self.begun: list[Authority] = []
        self.busy = False
        self.listed: list[bytes] = []

    async def relist(self, pem: bytes, what: str) -> None:
        self.listed.append(pem)

    async def begin(self, new: Authority) -> None:
        if self.busy:
            raise CertificateError("another rotation is under way")
        self.begun.append(new)


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    made = Mount(tmp_path / "mount")
    made.swap(FIRST)
    return made


@pytest.fixture
def rotations() -> Rotations:
    return Rotations()


@pytest.fixture
def files(mount: Mount, rotations: Rotations, tmp_path: Path) -> AuthorityFiles:
    state = tmp_path / "state"
    adopt(mount.folder, state, "td", NOW)
    live = LiveAuthority(open_store(state, "td", NOW))
    assert live.authority.id == FIRST.id
    return AuthorityFiles(mount.folder, live, rotations.begin, rotations.relist, lambda: NOW)


async def test_what_is_there_already_is_no_rotation(
    files: AuthorityFiles, rotations: Rotations
) -> None:
    await files.look()
    assert rotations.begun == []


async def test_a_swapped_mount_is_a_rotation_once(
    files: AuthorityFiles, rotations: Rotations, mount: Mount
) -> None:
    await files.look()
    mount.swap(SECOND)
    await files.look()
    await files.look()
    assert [one.id for one in rotations.begun] == [SECOND.id]


async def test_other_revocation_lists_are_no_rotation(
    files: AuthorityFiles, rotations: Rotations, mount: Mount, tmp_path: Path
) -> None:
    await files.look()
    pem = ROOT.crl({SECOND.certificate.serial_number: NOW}, NOW)
    save_cacerts(tmp_path / "with", FIRST)
    (tmp_path / "with" / "ca-crl.pem").write_bytes(pem)
    mount.swap(load_cacerts(tmp_path / "with", NOW, "td"))
    await files.look()
    await files.look()
    assert (rotations.begun, rotations.listed) == ([], [pem])


async def test_a_rotation_that_runs_is_waited_for(
    files: AuthorityFiles, rotations: Rotations, mount: Mount, caplog: pytest.LogCaptureFixture
) -> None:
    rotations.busy = True
    mount.swap(SECOND)
    await files.look()
    mount.swap(THIRD)
    await files.look()
    assert rotations.begun == []
    assert caplog.text.count("another rotation is under way") == 1
    rotations.busy = False
    await files.look()
    assert [one.id for one in rotations.begun] == [THIRD.id]


async def test_half_a_folder_is_left_alone(
    files: AuthorityFiles,
    rotations: Rotations,
    mount: Mount,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    generation = mount.folder / "..1"
    (generation / "tls.crt").write_bytes(chain_to_pem((SECOND.certificate,)))
    await files.look()
    assert rotations.begun == []
    assert f"{mount.folder} is not taken" in caplog.text
    (generation / "tls.key").write_text("-----BEGIN PRIV")
    await files.look()
    (generation / "ca.crt").unlink()
    await files.look()
    assert rotations.begun == []
    mount.swap(SECOND)
    await files.look()
    assert [one.id for one in rotations.begun] == [SECOND.id]


async def test_another_trust_domains_authority_is_not_taken(
    files: AuthorityFiles, rotations: Rotations, mount: Mount, caplog: pytest.LogCaptureFixture
) -> None:
    mount.swap(Authority.create("other", NOW))
    await files.look()
    assert rotations.begun == []
    assert "trust domain other, not td" in caplog.text


def test_the_first_start_takes_the_folder_and_later_ones_the_state(
    mount: Mount, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    adopt(mount.folder, state, "td", NOW)
    mount.swap(SECOND)
    adopt(mount.folder, state, "td", NOW)
    assert open_store(state, "td", NOW).authority.id == FIRST.id


def test_a_bad_folder_makes_no_state(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with pytest.raises(CertificateError, match="holds no authority"):
        adopt(tmp_path, state, "td", NOW)
    save_cacerts(tmp_path / "folder", FIRST)
    with pytest.raises(CertificateError, match="trust domain td, not other"):
        adopt(tmp_path / "folder", state, "other", NOW)
    with pytest.raises(CertificateError, match="has no certificate authority"):
        load_store(state, NOW)


def test_a_running_control_plane_follows_the_mount(tmp_path: Path) -> None:
    now = time.time()
    old, new = Authority.create("cluster.local", now), Authority.create("cluster.local", now)
    mount = Mount(tmp_path / "mount")
    mount.swap(old)
    (tmp_path / "mesh").mkdir()
    plane = ControlPlane(tmp_path / "mesh", tmp_path / "state", "--ca-files", str(mount.folder))
    with plane:
        assert plane.root_pem == old.bundle.to_pem()
        mount.swap(new)
        eventually(lambda: plane.root_pem == new.bundle.to_pem(), 40.0, "the old root is gone")
    assert f"{mount.folder} holds another authority: rotating to {new.id}" in plane.log


def test_an_encrypted_key_stays_so_and_the_control_plane_needs_its_words(tmp_path: Path) -> None:
    now, config = time.time(), tmp_path / "config"
    config.mkdir()
    root = Authority.create("cluster.local", now)
    save_cacerts(tmp_path / "cacerts", root.create_intermediate(now), b"some words")
    write_secret(tmp_path / "words", b"some words\n")
    files = ("--ca-files", str(tmp_path / "cacerts"))
    with pytest.raises(AssertionError, match=r"private key is encrypted: .*state-passphrase-file"):
        ControlPlane(config, tmp_path / "state", *files).start()
    words = ("--state-passphrase-file", str(tmp_path / "words"))
    with ControlPlane(config, tmp_path / "state", *files, *words) as plane:
        (key,) = plane.state.rglob("ca-key.pem")
        assert key.read_bytes().startswith(b"-----BEGIN ENCRYPTED")
        assert "some words" not in plane.log
