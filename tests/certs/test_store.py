"""The state directory: made once, loaded ever after, and never repaired behind anybody's back."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from certs.authority import Authority
from certs.errors import CertificateError
from certs.keys import generate_key, key_to_pem
from certs.profiles import ROOT_LIFETIME_S
from certs.spiffe import SpiffeId
from certs.store import load_store, make_state_directory, open_store
from certs.x509 import chain_to_pem

NOW = 1_800_000_000.0
ROOT = Path(__file__).resolve().parents[2]


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_first_start_makes_and_second_loads_the_same(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    first = open_store(state, "cluster.local", NOW)
    before = contents(state)
    second = open_store(state, "cluster.local", NOW + 1000)
    assert second.authority.certificate == first.authority.certificate
    assert second.bundle == first.bundle == first.authority.bundle
    assert contents(state) == before
    assert set(before) == {"root.key", "root.pem", "root.lock"}
    leaf, root = second.authority.sign(
        generate_key().public_key(), SpiffeId("cluster.local", "/a"), 60, NOW
    )
    leaf.verify_directly_issued_by(root)


def test_modes(tmp_path: Path) -> None:
    state = tmp_path / "state"
    open_store(state, "cluster.local", NOW)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (state, *state.iterdir())}
    assert modes == {"state": 0o700, "root.key": 0o600, "root.pem": 0o644, "root.lock": 0o600}


def test_a_passphrase_encrypts_the_key_at_rest(tmp_path: Path) -> None:
    first = open_store(tmp_path, "td", NOW, b"secret words")
    assert (tmp_path / "root.key").read_bytes().startswith(b"-----BEGIN ENCRYPTED")
    again = open_store(tmp_path, "td", NOW, b"secret words")
    assert again.authority.certificate == first.authority.certificate
    for wrong in (None, b"other words"):
        with pytest.raises(CertificateError, match=r"root\.key: private key"):
            open_store(tmp_path, "td", NOW, wrong)


def test_the_bundle_may_hold_older_roots(tmp_path: Path) -> None:
    stored = open_store(tmp_path, "td", NOW)
    older = Authority.create("td", NOW)
    stored.bundle.with_root(older.certificate).save(tmp_path / "root.pem")
    again = load_store(tmp_path, NOW)
    assert again.authority.certificate == stored.authority.certificate
    assert again.bundle.roots == (stored.authority.certificate, older.certificate)


def cut(name: str) -> Callable[[Path], None]:
    def damage(state: Path) -> None:
        path = state / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def put(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(state: Path) -> None:
        (state / name).write_bytes(content)

    return damage


def swap_key(state: Path) -> None:
    (state / "root.key").write_bytes(key_to_pem(generate_key()))


def leaf_as_root(state: Path) -> None:
    authority = load_store(state, NOW).authority
    key = generate_key()
    chain = authority.sign(key.public_key(), SpiffeId("td", "/a"), 60, NOW)
    (state / "root.key").write_bytes(key_to_pem(key))
    (state / "root.pem").write_bytes(chain_to_pem(chain[:1]))


@pytest.mark.parametrize(
    ("damage", "file", "complaint"),
    [
        (cut("root.key"), "root.key", "private key is not valid"),
        (cut("root.pem"), "root.pem", "cut off"),
        (put("root.key", b""), "root.key", "private key is not valid"),
        (put("root.pem", b""), "root.pem", "holds no PEM certificate"),
        (put("root.pem", b"\x00" * 4096), "root.pem", "holds no PEM certificate"),
        (swap_key, "root.key", "does not belong to any certificate"),
        (leaf_as_root, "root.pem", "not a CA certificate"),
        (lambda state: (state / "root.key").unlink(), "root.key", "is missing"),
        (lambda state: (state / "root.pem").unlink(), "root.pem", "is missing"),
        (lambda state: (state / "root.key").chmod(0o644), "root.key", "chmod 600"),
    ],
    ids=["cut key", "cut pem", "empty key", "empty pem", "zeros", "other key", "leaf", "no key",
         "no pem", "open key"],
)  # fmt: skip
def test_damage_is_refused_by_name_and_left_alone(
    tmp_path: Path, damage: Callable[[Path], object], file: str, complaint: str
) -> None:
    open_store(tmp_path, "td", NOW)
    damage(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(CertificateError, match=complaint) as caught:
        open_store(tmp_path, "td", NOW)
    assert str(tmp_path / file) in str(caught.value)
    assert contents(tmp_path) == before


def test_another_trust_domain_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path, "cluster.local", NOW)
    with pytest.raises(CertificateError, match=r"trust domain cluster\.local, not example\.org"):
        open_store(tmp_path, "example.org", NOW)


def test_a_malformed_trust_domain_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="trust domain 'Example'"):
        open_store(tmp_path, "Example", NOW)
    assert set(contents(tmp_path)) <= {"root.lock"}


def test_an_expired_root_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    with pytest.raises(CertificateError, match=r"root\.pem expired at"):
        open_store(tmp_path, "td", NOW + ROOT_LIFETIME_S + 1)


def test_loading_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"root\.key is missing"):
        load_store(tmp_path, NOW)
    assert contents(tmp_path) == {}


def test_bad_directories(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CertificateError, match="file: File exists"):
        make_state_directory(tmp_path / "file")
    with pytest.raises(CertificateError, match="Not a directory"):
        make_state_directory(tmp_path / "file" / "below")
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(CertificateError, match="mode 0777"):
        open_store(open_to_all, "td", NOW)


STARTER = """
import sys, time
from pathlib import Path
from certs.store import open_store
state = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
stored = open_store(state, "td", time.time())
print(hex(stored.authority.certificate.serial_number))
"""


def test_processes_that_start_at_once_share_one_root(tmp_path: Path) -> None:
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, str(tmp_path / "state")],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for starter in starters:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("go\n")
        starter.stdin.flush()
    serials = {starter.communicate(timeout=60)[0] for starter in starters}
    assert [starter.returncode for starter in starters] == [0] * 4
    assert len(serials) == 1
