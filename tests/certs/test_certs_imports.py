"""The tree stands on cryptography alone: whoever proves who it is should not pay for gRPC."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PROBE = """
import importlib, pathlib, sys
for path in sorted(pathlib.Path("certs").glob("*.py")):
    importlib.import_module("certs." + path.stem)
print(*(name for name in ("grpc", "asyncio", "ssl", "google.protobuf")
        if name in sys.modules))
"""


def test_imports_neither_network_nor_protobuf() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == []
