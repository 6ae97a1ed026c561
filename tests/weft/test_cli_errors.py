"""The command line: help, errors in one line, and that nothing heavy is imported to get there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def weft(
    *words: str, cwd: Path = ROOT, more: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weft", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=cwd, check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **more},
    )  # fmt: skip


COMMANDS = ("up", "run", "status", "proxy", "controlplane", "ca", "authz", "version")
TERMINAL_COLUMNS = 80


def test_the_help_names_every_command() -> None:
    result = weft("--help")
    assert result.returncode == 0
    for command in COMMANDS:
        assert f"\n  {command} " in result.stdout
    assert "..." not in result.stdout.partition("Commands:")[2]
    assert weft().stdout == result.stdout


@pytest.mark.parametrize(
    "command",
    ["up", "run", "proxy", "controlplane", "ca rotate", "ca sign", "check", "authz explain"],
)
def test_every_commands_help_has_an_example(command: str) -> None:
    result = weft(*command.split(), "--help")
    assert result.returncode == 0
    assert f"  weft {command} " in result.stdout.partition("Example")[2]
    assert max(map(len, result.stdout.splitlines())) <= TERMINAL_COLUMNS


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["up", "nowhere"], "nowhere does not exist; name a directory with Kubernetes YAML"),
        (["up"], "Missing argument 'DIRECTORY'. (see weft up --help)"),
        (["dance"], "No such command 'dance'. (see weft --help)"),
        (["status"], "start a mesh with weft up DIR, or name the state directory of"),
        (["run", "--service", "x", "--", "true"], "start one with: weft up DIR"),
        (["get", "vs/a", "b"], "expected KIND NAME or KIND/NAME, got 'vs/a b'"),
        (["ca", "show"], ".weft has no certificate authority: neither a state directory"),
        (["up", ".", "--port", "70000"], "70000 is not in the range"),
        (["proxy", "-c", "no.yaml"], "no.yaml"),
        (["controlplane", "--config", "nowhere", "--state-dir", "s"], "nowhere"),
    ],
)
def test_an_error_is_one_line_that_says_what(tmp_path: Path, words: list[str], error: str) -> None:
    result = weft(*words, cwd=tmp_path)
    assert result.returncode in (1, 2)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert error in line


def test_version() -> None:
    assert weft("version").stdout.startswith("weft 0.")
    assert weft("--version").stdout == weft("version").stdout


def test_a_shell_completes_commands_and_options() -> None:
    script = weft("completion", "zsh").stdout
    assert "_WEFT_COMPLETE=zsh_complete weft" in script.replace(" $words[1]", " weft")
    words = {"_WEFT_COMPLETE": "bash_complete", "COMP_WORDS": "weft ca sh", "COMP_CWORD": "2"}
    assert weft(more=words).stdout == "plain,show\n"


def imported(code: str) -> set[str]:
    code += "; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(json.loads(done.stdout))


def test_the_command_line_imports_next_to_nothing() -> None:
    modules = imported("import weft.cli")
    heavy = {"rich", "aiohttp", "grpc", "google.protobuf", "yaml", "asyncio", "cryptography"}
    assert not heavy & modules
    own = {name for name in modules if name.split(".")[0] in ("weft", "proxy", "controlplane")}
    assert own == {"weft", "weft.cli", "weft.errors"}


def test_a_laptop_mesh_without_a_terminal_does_not_load_rich() -> None:
    assert not {"rich", "aiohttp"} & imported("import weft.up")
