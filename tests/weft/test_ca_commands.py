"""`weft ca`: options, exit codes and messages; what they do is tested with certs.cli."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from certs.authority import Authority
from certs.cacerts import save_cacerts
from certs.csr import make_csr
from certs.keys import generate_key
from certs.spiffe import SpiffeId
from certs.x509 import chain_from_pem, check_svid, validity
from weft.ca import ca
from weft.errors import UserError

CART = SpiffeId.workload("cluster.local", "default", "cart")


def call(state: Path, *words: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(ca, [*words, "--state-dir", str(state)], input=stdin)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    assert call(tmp_path / "state", "init").exit_code == 0
    return tmp_path / "state"


def test_show(state: Path) -> None:
    assert "trust domain cluster.local, steady" in call(state, "show").output
    assert json.loads(call(state, "show", "-o", "json").output)["phase"] == "steady"


def test_doctor_tells_by_its_exit_code(state: Path) -> None:
    healthy = call(state, "doctor")
    assert (healthy.exit_code, healthy.output[:2]) == (0, "ok")
    (state / "root.pem").unlink()
    ill = call(state, "doctor", "-o", "json")
    assert ill.exit_code == 1
    assert json.loads(ill.output)[0]["severity"] == "error"


def test_sign_reads_a_request_from_standard_input(state: Path) -> None:
    csr = make_csr(generate_key(), CART)
    found = call(state, "sign", "default/cart", "--csr", "-", "--ttl", "90m", stdin=csr)
    leaf = chain_from_pem(found.output.encode())[0]
    assert check_svid((leaf,)) == CART
    start, end = validity(leaf)
    assert end - start == 90 * 60 + 300


def test_sign_makes_a_key(state: Path, tmp_path: Path) -> None:
    found = call(state, "sign", "default/cart", "--out", str(tmp_path / "out"), "--dns-name", "c")
    assert found.output.startswith(f"{tmp_path}/out: key and certificate of {CART} until ")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["sign", "default/cart"], "give either --csr or --out"),
        (["sign", "default/cart", "--csr", "-", "--out", "x"], "give either --csr or --out"),
        (["sign", "default/cart", "--csr", "-", "--ip", "::1"], "--ip need --out"),
        (["sign", "default/cart", "--out", "x", "--ttl", "1y"], "not a duration such as"),
        (["init", "--from", "a", "--root-dir", "b"], "exclude each other"),
        (["rotate", "--from", "a", "--root-dir", "b"], "exclude each other"),
        (["rotate", "--abort", "--step", "issue"], "exclude each other"),
        (["rotate", "--step", "sprint"], "'sprint' is not one of"),
    ],
)
def test_wrong_options_are_exit_code_2(state: Path, words: list[str], complaint: str) -> None:
    found = call(state, *words)
    assert found.exit_code == 2
    assert complaint in found.output


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["init"], "is there already"),
        (["sign", "default/cart", "--csr", "-"], "not a PEM-encoded"),
        (["rotate", "--rehearse"], "nobody to rehearse with"),
        (["rotate", "--step", "issue"], "no rotation is under way"),
        (["rotate", "--from", "/nowhere"], "/nowhere holds no authority"),
        (["rotate", "--root-dir", "/proc/x", "--passphrase-file", "/nowhere"], "No such file"),
    ],
)
def test_what_a_user_causes_is_one_line(state: Path, words: list[str], complaint: str) -> None:
    found = call(state, *words)
    assert isinstance(found.exception, UserError)
    assert complaint in str(found.exception)
    assert "\n" not in str(found.exception)


def test_a_rotation_by_hand(state: Path) -> None:
    assert "Next: --step prepare" in call(state, "rotate").output
    assert "2 roots" in call(state, "rotate", "--step", "prepare").output
    assert "is staged" not in call(state, "rotate", "--status").output
    assert "is all that is trusted" in call(state, "rotate", "--abort").output


def test_an_intermediate_with_a_passphrase(state: Path, tmp_path: Path) -> None:
    save_cacerts(tmp_path / "root", Authority.create("cluster.local", 1.8e9), b"some words")
    words = tmp_path / "words"
    words.write_text("some words\n")
    words.chmod(0o600)
    # That root begins in the future: its certificate is read, its key too.
    found = call(
        state, "rotate", "--root-dir", str(tmp_path / "root"), "--passphrase-file", str(words)
    )
    assert "check the clock" in str(found.exception)


def test_a_running_control_plane_takes_the_steps_itself(state: Path) -> None:
    with (state / "controlplane.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = call(state, "rotate", "--step", "prepare")
        assert "leave --step out" in str(found.exception)
        # The lock's holder serves nothing here: it is asked, and that is what fails.
        assert isinstance(call(state, "rotate", "--status").exception, UserError)
    assert "is all that is trusted" in call(state, "rotate", "--status").output
