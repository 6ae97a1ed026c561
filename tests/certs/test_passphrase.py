"""Passphrases of keys at rest: where they come from, and that nothing lies open with one."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from certs import cli, steps
from certs.authority import Authority
from certs.cacerts import save_cacerts
from certs.doctor import Severity, examine
from certs.errors import CertificateError
from certs.files import write_secret
from certs.keys import generate_key, is_encrypted, key_to_pem
from certs.passphrase import read_passphrase
from certs.rotation import Phase
from certs.store import load_store, open_store
from weft.ca import ca

NOW = 1_800_000_000.0
WORDS = b"correct horse"


def keys(state: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((state / "ca").rglob("ca-key.pem"))]


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    made = Authority.create("td", NOW).create_intermediate(NOW)
    save_cacerts(tmp_path / "theirs", made, WORDS)
    return tmp_path / "theirs"


def test_a_file_or_the_environment_names_it(tmp_path: Path) -> None:
    write_secret(tmp_path / "words", WORDS + b"\r\n")
    environment = {"THE_WORDS": WORDS.decode()}
    assert read_passphrase(str(tmp_path / "words"), environment) == WORDS
    assert read_passphrase("env:THE_WORDS", environment) == WORDS
    # No child of ours inherits it.
    assert environment == {}


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("env:NONE", "no 'NONE', which should be a passphrase"),
        ("env:EMPTY", "the passphrase in env:EMPTY is empty"),
        ("/nowhere/words", "No such file"),
    ],
)
def test_none_is_said(place: str, why: str) -> None:
    with pytest.raises(CertificateError, match=why):
        read_passphrase(place, {"EMPTY": ""})


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words").write_bytes(WORDS)
    (tmp_path / "words").chmod(0o644)
    with pytest.raises(CertificateError, match="make it private"):
        read_passphrase(str(tmp_path / "words"), {})


@pytest.mark.parametrize("format_", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_both_ways_of_encryption_are_known(format_: PrivateFormat) -> None:
    pem = generate_key().private_bytes(Encoding.PEM, format_, BestAvailableEncryption(WORDS))
    assert is_encrypted(pem)
    assert not is_encrypted(key_to_pem(generate_key()))


def test_a_key_that_comes_encrypted_stays_encrypted(tmp_path: Path, theirs: Path) -> None:
    state = tmp_path / "state"
    cli.init(state, "td", NOW, source=theirs, passphrase=WORDS)
    assert [is_encrypted(key) for key in keys(state)] == [True]
    with pytest.raises(CertificateError, match="--state-passphrase-file of a state"):
        load_store(state, NOW)
    with pytest.raises(CertificateError, match="wrong passphrase"):
        load_store(state, NOW, b"other words")
    assert load_store(state, NOW, WORDS).authority.trust_domain == "td"


def test_a_passphrase_of_its_own_for_what_is_kept(tmp_path: Path, theirs: Path) -> None:
    cli.init(tmp_path / "state", "td", NOW, source=theirs, passphrase=WORDS, state_passphrase=b"x")
    assert load_store(tmp_path / "state", NOW, b"x").authority.trust_domain == "td"


def test_an_offline_roots_passphrase_is_not_that_of_the_state(tmp_path: Path) -> None:
    root = tmp_path / "root"
    cli.init(tmp_path / "state", "td", NOW, root_dir=root, passphrase=WORDS)
    assert is_encrypted((root / "ca-key.pem").read_bytes())
    assert [is_encrypted(key) for key in keys(tmp_path / "state")] == [False]


def test_keys_that_lie_open_are_encrypted_when_there_is_a_passphrase(tmp_path: Path) -> None:
    first = open_store(tmp_path, "td", NOW).authority.id
    steps.stage(tmp_path, NOW, Authority.create("td", NOW))
    assert open_store(tmp_path, "td", NOW, WORDS).authority.id == first
    assert [is_encrypted(key) for key in keys(tmp_path)] == [True, True]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("ca-key.pem")} == {0o600}


def test_a_rotation_keeps_the_new_key_encrypted_too(tmp_path: Path, theirs: Path) -> None:
    open_store(tmp_path / "state", "td", NOW, b"x")
    new = cli.stage(tmp_path / "state", NOW, theirs, None, WORDS, b"x")
    assert [is_encrypted(key) for key in keys(tmp_path / "state")] == [True, True]
    assert cli.target_of(tmp_path / "state") == new
    for name in ("prepare", "issue", "retire"):
        cli.step(tmp_path / "state", name, NOW, acknowledged=True, passphrase=b"x")
    stored = load_store(tmp_path / "state", NOW, b"x")
    assert (stored.authority.id, stored.state.phase) == (new, Phase.STEADY)
    assert [is_encrypted(key) for key in keys(tmp_path / "state")] == [True]


def test_an_encrypted_key_does_not_come_to_lie_beside_open_ones(
    tmp_path: Path, theirs: Path
) -> None:
    open_store(tmp_path / "state", "td", NOW)
    with pytest.raises(CertificateError, match="which encrypts them"):
        cli.stage(tmp_path / "state", NOW, theirs, None, WORDS)
    assert load_store(tmp_path / "state", NOW).state.phase is Phase.STEADY


def test_the_doctor_does_not_take_it_for_an_illness(tmp_path: Path) -> None:
    open_store(tmp_path, "td", NOW, WORDS)
    (found,) = examine(tmp_path, NOW)
    assert (found.severity, "--state-passphrase-file" in found.text) == (Severity.WARNING, True)
    assert all(one.severity is Severity.OK for one in examine(tmp_path, NOW, WORDS))


def test_the_commands_take_it_and_never_print_it(tmp_path: Path, theirs: Path) -> None:
    state = tmp_path / "state"
    words, at = ["--state-passphrase-file", "env:WORDS"], ["--state-dir", str(state)]
    cli.init(state, "td", NOW, source=theirs, passphrase=WORDS)
    environment = {"WORDS": WORDS.decode()}
    shown = CliRunner().invoke(ca, ["show", *at, *words], env=environment)
    assert "trust domain td, steady" in shown.output
    for command in (["show"], ["show", *words], ["doctor"]):
        found = CliRunner().invoke(ca, [*command, *at], env={"WORDS": "wrong words"})
        said = f"{found.output} {found.exception}"
        assert "passphrase" in said
        assert "wrong words" not in said
