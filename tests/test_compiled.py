"""What is compiled ([tool.weft.compiled]): the table is right, and Python alone does as well."""

from __future__ import annotations

import ast
import http.client
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.compiled import ROOT, why_not
from tests.support.ports import free_port
from tests.support.weft_proxy import weft_proxy

FOLDERS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
    "weft"
]["compiled"]
COMPILED = {f"{folder}/{name}.py" for folder, names in FOLDERS.items() for name in names}


def test_every_module_of_the_table_exists() -> None:
    assert [path for path in COMPILED if not (ROOT / path).exists()] == []


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _bases_from(path: Path, modules: set[str]) -> Iterator[str]:
    """Classes that inherit from one of `modules`, as 'path:line Class(Base)'."""
    text = path.read_text()
    if not re.search(r"\bclass\s+\w+\s*[(\[]", text):
        return
    nodes = list(ast.walk(ast.parse(text)))
    imported = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module in modules
        for alias in node.names
    }
    for node in nodes:
        for base in node.bases if isinstance(node, ast.ClassDef) else ():
            if isinstance(base, ast.Name) and base.id in imported and "Protocol" not in base.id:
                yield f"{path.relative_to(ROOT)}:{base.lineno} {base.id}"


def test_nobody_in_python_inherits_from_a_compiled_class() -> None:
    """Such a class can be defined, and fails when an object of it is made."""
    modules = {_module(ROOT / path) for path in COMPILED}
    python = [
        path
        for folder in ("proxy", "controlplane")
        for path in (ROOT / folder).rglob("*.py")
        if str(path.relative_to(ROOT)) not in COMPILED
    ]
    assert [found for path in python for found in _bases_from(path, modules)] == []


def _version(**environment: str) -> str:
    words = [sys.executable, "-P", "-m", "weft", "version"]
    told = subprocess.run(words, env=os.environ | environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_the_source_tree_runs_in_python() -> None:
    assert "proxy in Python" in _version(PYTHONPATH=str(ROOT))


@pytest.mark.skipif(bool(why_not()), reason=f"the compiled proxy is {why_not()}")
def test_what_is_installed_is_compiled() -> None:
    assert "compiled proxy" in _version()


def _answers(port: int) -> dict[str, Any]:
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 418}}
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
        "HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"static_resources": {"listeners": [{"address": address, "filter_chains": [chain]}]}}


def test_a_proxy_in_python_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    port = free_port()
    with weft_proxy(_answers(port), tmp_path):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        client.request("GET", "/")
        assert client.getresponse().status == 418
        client.close()
