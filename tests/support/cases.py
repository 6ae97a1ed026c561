"""The folder of real cases beside the project, which a user's clone does not have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def case_folder(name: str) -> Path:
    """`../shared/cases/NAME`; where it is absent the test is skipped, or fails if CI is set."""
    folder = ROOT.parent / "shared" / "cases" / name
    if not folder.is_dir():
        reason = f"no folder of real cases {name} beside the project"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
