"""What cannot start says so in one clear line and exit code 1: never a traceback, never silence."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.members import weft
from tests.support.ports import free_port
from tests.support.process import with_admin

pytestmark = pytest.mark.timeout(300)

TYPES = "type.googleapis.com/envoy.extensions.filters"
ROUTER = {"@type": f"{TYPES}.http.router.v3.Router"}
HCM = f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def manager(**fields: Any) -> dict[str, Any]:
    """An HTTP connection manager that answers everything itself."""
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    host = {"name": "all", "domains": ["*"], "routes": [answer]}
    return {
        "@type": HCM,
        "stat_prefix": "in",
        "route_config": {"name": "r", "virtual_hosts": [host]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": ROUTER}],
        **fields,
    }


def bootstrap(port: int, hcm: dict[str, Any], **fields: Any) -> dict[str, Any]:
    chain = {"name": "envoy.filters.network.http_connection_manager", "typed_config": hcm}
    listener = {
        "name": "main",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [chain]}],
    }
    whole = {"static_resources": {"listeners": [listener]}, **fields}
    return with_admin(whole, free_port())


def start(tmp_path: Path, content: dict[str, Any] | str) -> str:
    """The one error line of a proxy that must not start with this bootstrap."""
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    path = tmp_path / "bootstrap.yaml"
    path.write_text(text, "utf-8")
    return refused("proxy", "-c", str(path))


def refused(*words: str) -> str:
    ended = weft(*words)
    assert ended.returncode == 1, ended
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith("weft: error: ")]
    assert len(lines) == 1, ended.stderr
    assert lines[0] == ended.stderr.splitlines()[-1]
    return lines[0]


WASM = {"name": "envoy.filters.http.wasm", "typed_config": {"@type": f"{TYPES}.http.wasm.v3.Wasm"}}
UNSUPPORTED = {
    "of the bootstrap": (manager(), {"flags_path": "/nowhere"}, "flags_path"),
    "of a filter": (manager(codec_type="HTTP3"), {}, "codec_type"),
    "a filter": (manager(http_filters=[WASM]), {}, "http_filters[0]"),
    "misspelt": (manager(stat_prefiks="x"), {}, "did you mean `stat_prefix`?"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_bootstrap_field_that_is_not_supported_is_named(tmp_path: Path, name: str) -> None:
    hcm, fields, words = UNSUPPORTED[name]
    line = start(tmp_path, bootstrap(free_port(), hcm, **fields))
    assert line.startswith(f"weft: error: {tmp_path / 'bootstrap.yaml'}:")
    assert words in line


def test_a_bootstrap_that_is_not_yaml_is_named_with_the_place(tmp_path: Path) -> None:
    line = start(tmp_path, "admin: {\nstatic_resources: [\n")
    assert f"{tmp_path / 'bootstrap.yaml'}:" in line
    assert "YAML" in line


def test_a_listener_port_in_use_is_named(tmp_path: Path, taken: int) -> None:
    line = start(tmp_path, bootstrap(taken, manager()))
    assert f"127.0.0.1:{taken} (listener main)" in line
    assert "in use" in line


def test_an_admin_port_in_use_is_named(tmp_path: Path, taken: int) -> None:
    line = start(tmp_path, with_admin(bootstrap(free_port(), manager()), taken))
    assert f"127.0.0.1:{taken} (admin)" in line
    assert "in use" in line


@pytest.mark.parametrize("option", ["--port", "--mtls-port", "--admin-port"])
def test_a_port_of_the_control_plane_in_use_is_named(
    tmp_path: Path, taken: int, option: str
) -> None:
    ports = {"--port": 0, "--mtls-port": 0, "--admin-port": 0, option: taken}
    words = [word for name, port in ports.items() for word in (name, str(port))]
    state = str(tmp_path / "state")
    line = refused("controlplane", "--config", str(tmp_path), "--state-dir", state, *words)
    assert f"127.0.0.1:{taken}" in line
    assert option in line


@pytest.mark.parametrize("command", ["up", "controlplane", "proxy"])
def test_a_missing_file_or_directory_is_named(tmp_path: Path, command: str) -> None:
    gone, state = str(tmp_path / "gone"), str(tmp_path / "state")
    words = {
        "up": ["up", gone, "--state-dir", state],
        "controlplane": ["controlplane", "--config", gone, "--state-dir", state],
        "proxy": ["proxy", "-c", gone],
    }
    assert gone in refused(*words[command])
