"""The state directory: made once, loaded ever after, and never repaired behind anybody's back."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from certs.authority import Authority
from certs.bundle import TrustBundle
from certs.checked_file import read_checked, write_checked
from certs.errors import CertificateError
from certs.files import write_secret
from certs.keys import generate_key, key_to_pem
from certs.profiles import ROOT_LIFETIME_S
from certs.spiffe import SpiffeId
from certs.store import load_store, make_state_directory, open_store
from certs.x509 import chain_to_pem

NOW = 1_800_000_000.0
LEAF = SpiffeId("td", "/a")
ROOT = Path(__file__).resolve().parents[2]


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def folder(state: Path) -> Path:
    """Of the authority that signs."""
    return state / "ca" / load_store(state, None).authority.id


def test_first_start_makes_and_second_loads_the_same(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    first = open_store(state, "cluster.local", NOW)
    before = contents(state)
    second = open_store(state, "cluster.local", NOW + 1000)
    assert second.authority.certificate == first.authority.certificate
    assert second.bundle == first.bundle == first.authority.bundle
    assert contents(state) == before
    leaf, root = second.authority.sign(
        generate_key().public_key(), SpiffeId("cluster.local", "/a"), 60, NOW
    )
    leaf.verify_directly_issued_by(root)


def test_modes(tmp_path: Path) -> None:
    state = tmp_path / "state"
    name = open_store(state, "cluster.local", NOW).authority.id
    modes = {
        str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode)
        for path in tmp_path.rglob("*")
    }
    assert modes == {
        "state": 0o700,
        "state/ca.lock": 0o600,
        "state/root.pem": 0o644,
        "state/ca": 0o700,
        "state/ca/state.json": 0o600,
        f"state/ca/{name}": 0o700,
        f"state/ca/{name}/ca-key.pem": 0o600,
        f"state/ca/{name}/ca-cert.pem": 0o644,
        f"state/ca/{name}/cert-chain.pem": 0o644,
        f"state/ca/{name}/root-cert.pem": 0o644,
    }


def test_a_passphrase_encrypts_the_key_at_rest(tmp_path: Path) -> None:
    first = open_store(tmp_path, "td", NOW, b"secret words")
    key = tmp_path / "ca" / first.authority.id / "ca-key.pem"
    assert key.read_bytes().startswith(b"-----BEGIN ENCRYPTED")
    again = open_store(tmp_path, "td", NOW, b"secret words")
    assert again.authority.certificate == first.authority.certificate
    for wrong in (None, b"other words"):
        with pytest.raises(CertificateError, match=r"ca-key\.pem: private key"):
            open_store(tmp_path, "td", NOW, wrong)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def swap_key(path: Path) -> None:
    path.write_bytes(key_to_pem(generate_key()))


def other_root(path: Path) -> None:
    Authority.create("td", NOW).bundle.save(path)


def leaf_as_authority(path: Path) -> None:
    chain = Authority.create("td", NOW).sign(generate_key().public_key(), LEAF, 60, NOW)
    path.write_bytes(chain_to_pem(chain[:1]))


def one_root_more(path: Path) -> None:
    more = Authority.create("td", NOW).bundle
    TrustBundle.load(path).union(more).save(path)


def edit(old: bytes, new: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes().replace(old, new))


def put(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "damage", "complaint"),
    [
        ("ca-key.pem", cut, "private key is not valid"),
        ("ca-key.pem", put(b""), "private key is not valid"),
        ("ca-key.pem", swap_key, "is not the key of .*ca-cert.pem"),
        ("ca-key.pem", Path.unlink, "No such file"),
        ("ca-key.pem", lambda path: path.chmod(0o644), "chmod 600"),
        ("ca-cert.pem", cut, "cut off"),
        ("ca-cert.pem", put(b"\0" * 4096), "holds no PEM certificate"),
        ("ca-cert.pem", leaf_as_authority, "not a CA certificate"),
        ("ca-cert.pem", Path.unlink, "holds no authority: it needs ca-cert.pem"),
        ("cert-chain.pem", cut, "cut off"),
        ("root-cert.pem", put(b""), "holds no PEM certificate"),
        ("root-cert.pem", other_root, "no trusted root signs"),
        ("root-cert.pem", one_root_more, "not those that were put there"),
        ("../state.json", cut, "is corrupt"),
        ("../state.json", put(b""), "is corrupt"),
        ("../state.json", put(b"[1]"), "is corrupt"),
        ("../state.json", put(b"[" * 100_000), "is corrupt"),
        ("../state.json", edit(b"steady", b"staged"), "checksum does not fit"),
        ("../state.json", edit(b'"td"', b'"te"'), "checksum does not fit"),
        ("../state.json", Path.unlink, "is missing: restore .*/ca"),
        ("../../root.pem", cut, "cut off"),
        ("../../root.pem", put(b""), "holds no PEM certificate"),
        ("../../root.pem", other_root, "holds roots that are not of"),
        ("../../root.pem", leaf_as_authority, "not a CA certificate"),
    ],
)
def test_damage_is_refused_by_name_and_left_alone(
    tmp_path: Path, file: str, damage: Callable[[Path], object], complaint: str
) -> None:
    open_store(tmp_path, "td", NOW)
    path = (folder(tmp_path) / file).resolve()
    damage(path)
    before = contents(tmp_path)
    with pytest.raises(CertificateError, match=complaint) as caught:
        open_store(tmp_path, "td", NOW)
    named = path if path.exists() or path.name == "state.json" else path.parent
    assert str(named) in str(caught.value) or path.parent.name in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("file", ["ca-cert.pem", "root-cert.pem"])
def test_no_change_of_a_byte_is_taken_for_an_authority(tmp_path: Path, file: str) -> None:
    """DER that is broken anywhere: a message that names the file, and no other exception."""
    before = open_store(tmp_path, "td", NOW).authority.id
    path = folder(tmp_path) / file
    pem = path.read_bytes()
    for position in range(28, len(pem) - 26, 9):
        path.write_bytes(pem[:position] + bytes([pem[position] ^ 2]) + pem[position + 1 :])
        try:
            assert load_store(tmp_path, NOW).authority.id == before
        except CertificateError as error:
            assert path.name in str(error) or str(path.parent) in str(error)


def test_no_change_of_a_byte_is_taken_for_a_state(tmp_path: Path) -> None:
    """Nor does one raise anything that is not a message for a user."""
    before = open_store(tmp_path, "td", NOW).state
    path = tmp_path / "ca" / "state.json"
    text = path.read_bytes()
    for position in range(0, len(text), 7):
        path.write_bytes(text[:position] + bytes([text[position] ^ 1]) + text[position + 1 :])
        try:
            assert load_store(tmp_path, NOW).state == before, "only where it changed nothing"
        except CertificateError as error:
            assert str(path) in str(error)


def test_a_lost_folder_is_not_replaced_by_a_new_authority(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    (tmp_path / "ca").rename(tmp_path / "lost")
    with pytest.raises(CertificateError, match=r"ca is missing, though .*root\.pem is there"):
        open_store(tmp_path, "td", NOW)
    assert not (tmp_path / "ca").exists()


def test_another_format_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    path = tmp_path / "ca" / "state.json"
    write_checked(path, read_checked(path) | {"format": 2})
    with pytest.raises(CertificateError, match="another version of Weft"):
        open_store(tmp_path, "td", NOW)
    write_checked(path, {"format": 1})
    with pytest.raises(CertificateError, match="is corrupt"):
        open_store(tmp_path, "td", NOW)


def test_what_a_crash_left_of_making_is_made_anew(tmp_path: Path) -> None:
    """`ca` comes to be by one rename: before it nothing is there, after it all but root.pem."""
    (tmp_path / ".ca.half").mkdir()
    (tmp_path / ".ca.half" / "ca-key.pem").write_bytes(b"half")
    stored = open_store(tmp_path, "td", NOW)
    (tmp_path / "root.pem").unlink()
    again = open_store(tmp_path, "td", NOW)
    assert again.authority.id == stored.authority.id
    assert TrustBundle.load(tmp_path / "root.pem") == stored.bundle


# ------------------------------------------------------ state directories of an earlier version


def former(state: Path) -> Authority:
    """root.key and root.pem alone, with an older root that is still trusted."""
    key = generate_key()
    authority = Authority.create("td", NOW, key)
    write_secret(state / "root.key", key_to_pem(key))
    authority.bundle.union(Authority.create("td", NOW).bundle).save(state / "root.pem")
    return authority


def test_the_root_of_an_earlier_version_lives_on(tmp_path: Path) -> None:
    authority = former(tmp_path)
    roots = TrustBundle.load(tmp_path / "root.pem")
    stored = open_store(tmp_path, "td", NOW)
    assert stored.authority.certificate == authority.certificate
    assert stored.bundle == roots
    assert not (tmp_path / "root.key").exists()
    assert open_store(tmp_path, "td", NOW).authority.id == stored.authority.id


def test_a_former_key_that_a_crash_left_is_taken_away(tmp_path: Path) -> None:
    former(tmp_path)
    key = (tmp_path / "root.key").read_bytes()
    stored = open_store(tmp_path, "td", NOW)
    write_secret(tmp_path / "root.key", key)
    assert open_store(tmp_path, "td", NOW).authority.id == stored.authority.id
    assert not (tmp_path / "root.key").exists()


@pytest.mark.parametrize(
    ("file", "damage", "complaint"),
    [
        ("root.key", cut, "root.key: private key is not valid"),
        ("root.key", swap_key, "root.key does not belong to any certificate of .*root.pem"),
        ("root.key", lambda path: path.chmod(0o640), None),
        ("root.key", lambda path: path.chmod(0o644), "root.key .*chmod 600"),
        ("root.pem", cut, "root.pem is cut off"),
        ("root.pem", Path.unlink, "root.pem: No such file"),
    ],
)
def test_damage_of_an_earlier_version_is_refused(
    tmp_path: Path, file: str, damage: Callable[[Path], object], complaint: str | None
) -> None:
    former(tmp_path)
    damage(tmp_path / file)
    before = contents(tmp_path)
    if complaint is None:
        open_store(tmp_path, "td", NOW)
        return
    with pytest.raises(CertificateError, match=complaint):
        open_store(tmp_path, "td", NOW)
    assert contents(tmp_path) | {"ca.lock": b""} == before | {"ca.lock": b""}


def test_a_strange_former_key_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    write_secret(tmp_path / "root.key", key_to_pem(generate_key()))
    with pytest.raises(CertificateError, match=r"root\.key is of an earlier version"):
        open_store(tmp_path, "td", NOW)
    assert (tmp_path / "root.key").exists()


# ---------------------------------------------------------------------------------------------


def test_another_trust_domain_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path, "cluster.local", NOW)
    with pytest.raises(CertificateError, match=r"trust domain cluster\.local, not example\.org"):
        open_store(tmp_path, "example.org", NOW)


def test_a_malformed_trust_domain_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="trust domain 'Example'"):
        open_store(tmp_path, "Example", NOW)
    assert set(contents(tmp_path)) <= {"ca.lock"}


def test_an_expired_root_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    with pytest.raises(CertificateError, match=r"expired at .*weft ca rotate"):
        open_store(tmp_path, "td", NOW + ROOT_LIFETIME_S + 1)
    assert load_store(tmp_path, None).authority.trust_domain == "td"


def test_a_clock_that_is_behind_asks_for_no_new_authority(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW)
    with pytest.raises(CertificateError, match=r"not valid before .*: check the clock$"):
        open_store(tmp_path, "td", NOW - 3600)


def test_loading_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="has no certificate authority"):
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
