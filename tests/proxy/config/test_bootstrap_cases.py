"""Real Envoy files: each loads or is refused by name; no file of the world makes a traceback."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from proxy.config import bootstrap
from proxy.config.positions import BadConfig
from tests.support.cases import case_folder

FOLDERS = ("envoy-configs", "envoy-examples", "envoy-docs-rst")
VERDICTS = "envoy-1.40.0.validate.shared.json"
# Refused by Envoy for the words of its own application log, which Weft does not write.
APPLICATION_LOG = "forbidden_flag_"


def files(folder: str) -> list[Path]:
    found = case_folder(folder).rglob("*")
    return sorted(path for path in found if path.suffix in (".yaml", ".yml", ".json"))


def verdict(path: Path) -> BadConfig | None:
    try:
        bootstrap.load(path)
    except BadConfig as error:
        return error
    return None


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_loads_or_is_refused_in_one_line_that_names_the_place(
    folder: str, notes: list[str]
) -> None:
    counts: Counter[str] = Counter()
    for path in files(folder):
        error = verdict(path)
        counts["loads" if error is None else "refused"] += 1
        if error is not None:
            assert "\n" not in str(error), path
            assert str(error).startswith(str(path)), path
            assert error.path or error.position, f"{error} names neither field nor line"
    notes.append(f"{folder}: {counts['loads']} load, {counts['refused']} are refused by name")
    assert sum(counts.values()) > 50


@pytest.mark.parametrize("folder", FOLDERS[:2])
def test_what_envoy_refuses_is_refused(folder: str) -> None:
    verdicts = json.loads((case_folder(folder) / VERDICTS).read_text())
    wrong = [
        name
        for name, found in verdicts.items()
        if found["envoy-1.40.0"] == "reject"
        and APPLICATION_LOG not in name
        and verdict(case_folder(folder) / name) is None
    ]
    assert wrong == []


def test_what_is_refused_against_envoy_is_refused_as_unsupported_or_for_its_machine() -> None:
    """A file that Envoy accepts may only fail for what Weft lacks, templates and missing files."""
    excuses = ("not supported by this version of Weft", "cannot read", "`{{ ")
    wrong = []
    for folder in FOLDERS[:2]:
        verdicts = json.loads((case_folder(folder) / VERDICTS).read_text())
        for name, found in verdicts.items():
            if found["envoy-1.40.0"] == "ok":
                error = verdict(case_folder(folder) / name)
                if error is not None and not any(word in error.why for word in excuses):
                    wrong.append(str(error))
    assert wrong == []
