"""`weft up` with stand-ins for its control plane and its proxies, as a program."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.support.laptop import Up
from tests.weft.fake_weft import ENTRIES

FAKE = str(Path(__file__).with_name("fake_weft.py"))
FAKE_UP = (sys.executable, "-m", "tests.weft.fake_up")


def entries(mesh: Up) -> set[str]:
    """The names of the workloads that the stand-in control plane knows."""
    found = json.loads((mesh.state / ENTRIES).read_text("utf-8"))
    return {name.partition("/")[2] for name in found}


def main() -> None:
    from weft import up
    from weft.cli import guarded
    from weft.mesh import MeshOptions

    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--state-passphrase-file", default="")
    words = parser.parse_args()
    options = MeshOptions(
        words.directory,
        words.state_dir,
        gateway_port=words.port,
        program=(sys.executable, FAKE),
        passphrase=words.state_passphrase_file,
    )
    guarded(lambda: sys.exit(up.check_all(options) if words.check else up.up(options)))


if __name__ == "__main__":
    main()
