"""`weft proxy -c`, started as a user starts it, with the same bootstrap as the judge."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.support.ports import free_port
from tests.support.process import ProxyProcess, with_admin


def weft_proxy(
    bootstrap: dict[str, Any], directory: Path, *options: str, admin_port: int = 0
) -> ProxyProcess:
    """A Weft proxy, not started yet. `directory` gets its bootstrap, its log and its state."""
    admin_port = admin_port or free_port()
    path = directory / "weft.json"
    path.write_text(json.dumps(with_admin(bootstrap, admin_port)))
    command = [sys.executable, "-c", "from weft.cli import main; main()", "proxy", "-c", str(path)]
    command += ["--state-dir", str(directory / "weft-state"), *options]
    return ProxyProcess(command, admin_port, directory / "weft.log")
