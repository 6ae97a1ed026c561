"""The judge: a real Envoy 1.40, started with a bootstrap."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port
from tests.support.process import ProxyProcess, with_admin

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / ".peers" / "envoy" / "bin" / "envoy"


def require_envoy() -> None:
    """Skips the test with a notice when Envoy is not installed; fails it where CI is set."""
    if BINARY.exists():
        return
    message = f"no Envoy at {BINARY.relative_to(ROOT)}: `make setup` installs it"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def envoy(bootstrap: dict[str, Any], directory: Path) -> ProxyProcess:
    """An Envoy with one worker, not started yet. `directory` gets its bootstrap and its log."""
    require_envoy()
    admin_port = free_port()
    path = directory / "envoy.json"
    path.write_text(json.dumps(with_admin(bootstrap, admin_port)))
    command = [str(BINARY), "-c", str(path), "--concurrency", "1", "--disable-hot-restart"]
    command += ["-l", "warning", "--file-flush-interval-msec", "10", "--drain-time-s", "1"]
    return ProxyProcess(command, admin_port, directory / "envoy.log")
