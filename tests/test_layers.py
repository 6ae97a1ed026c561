"""Holds the project against the tables of ARCHITECTURE.md, and the checker against fake trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.layers import (
    Rules,
    Source,
    nearly_too_long,
    read_rules,
    read_source,
    read_trees,
    too_long,
    violations,
)

ROOT = Path(__file__).resolve().parents[1]

ARCHITECTURE = """
| tree | level | rooms |
|---|---|---|
| protos | 0 | gen, types |
| certs | 0 | spiffe |
| certs | 2 | authority, store |
| proxy | 0 | http, stats |
| proxy | 1 | config, `xds` |
| proxy | 2 | main |
| controlplane | 0 | kinds, rpc |
| weft | 0 | cli, up |

| tree | shells |
|---|---|
| proxy | main, xds.channel |

| tree | protobuf |
|---|---|
| proxy | config.decode_* |
"""


@pytest.fixture(scope="module")
def project() -> list[Source]:
    return read_trees(ROOT)


@pytest.fixture(scope="module")
def rules() -> Rules:
    return read_rules((ROOT / "ARCHITECTURE.md").read_text("utf-8"))


def test_every_module_keeps_the_rules(rules: Rules, project: list[Source]) -> None:
    broken = violations(rules, project)
    assert not broken, "\n" + "\n".join(broken)


def test_tests_and_benchmarks_stay_below_the_walls(notes: list[str], project: list[Source]) -> None:
    others = read_trees(ROOT, ("tests", "benchmarks"))
    broken = [message for source in others for message in too_long(source)]
    notes += [f"over 40 lines, {note}" for note in nearly_too_long(project + others)]
    assert not broken, "\n" + "\n".join(broken)


# --------------------------------------------------------------------------- the checker itself


def judge(path: str, text: str) -> list[str]:
    return violations(read_rules(ARCHITECTURE), [read_source(path, text)])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("proxy/config/a.py", "from proxy.http import h1\nfrom protos import types\n"),
        ("proxy/config/a.py", "from . import b\nfrom ..stats import Stats\nimport certs.spiffe\n"),
        ("proxy/config/decode_lds.py", "from google.protobuf import any_pb2\nimport envoy.x_pb2\n"),
        ("proxy/config/a.py", "from google.cloud import storage\nimport envoyish, ssl_utils\n"),
        ("proxy/main.py", "import asyncio, ssl\nimport time\nSTARTED = time.time()\n"),
        ("proxy/xds/channel.py", "import grpc\n"),
        ("proxy/__init__.py", "import collections\n"),
        ("weft/cli.py", "def proxy() -> None:\n    from proxy.main import run\n"),
        ("weft/cli.py", "def cp() -> None:\n    import controlplane.main\n"),
        ("protos/types.py", "import json\n"),
        ("controlplane/rpc/a.py", "from proxy.http.h2 import errors\nimport proxy.tls.session\n"),
    ],
)
def test_an_allowed_import_passes(path: str, text: str) -> None:
    assert judge(path, text) == []


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        ("proxy/http/h1.py", "from proxy.config import model\n", "level 0, proxy.config level 1"),
        ("proxy/http/h1.py", "from proxy import config\n", "level 0, proxy.config level 1"),
        ("proxy/http/h1.py", "from proxy import stats\n", "level 0, proxy.stats level 0"),
        ("proxy/http/h1.py", "from ..config.model import Node\n", "proxy.config level 1"),
        ("proxy/http/h1.py", "def f():\n    import proxy.config.a\n", "proxy.config level 1"),
        ("proxy/http/h1.py", "if TYPE_CHECKING:\n    import proxy.main\n", "proxy.main level 2"),
        ("proxy/http/h1.py", "import_module('proxy.main')\n", "proxy.main level 2"),
        ("proxy/http/__init__.py", "from ..config import model\n", "proxy.config level 1"),
        ("proxy/__init__.py", "from proxy import stats\n", "would load them all"),
        ("proxy/attic/a.py", "", "'attic' of proxy is not in ARCHITECTURE.md"),
        ("weft/extra.py", "", "'extra' of weft is not in ARCHITECTURE.md"),
        ("proxy/main.py", "from certs import authority\n", "never signs"),
        ("proxy/main.py", "from certs.store import Store\n", "never signs"),
        ("proxy/main.py", "from controlplane.kinds import core\n", "only on the wire"),
        ("controlplane/kinds/a.py", "import proxy.config.model\n", "only on the wire"),
        ("controlplane/rpc/a.py", "import proxy.tls.contexts\n", "only on the wire"),
        ("controlplane/rpc/a.py", "import proxy.l7.stream\n", "only on the wire"),
        ("proxy/main.py", "import weft.cli\n", "proxy does not import weft"),
        ("certs/spiffe.py", "import proxy.stats\n", "certs does not import proxy"),
        ("protos/types.py", "import certs.spiffe\n", "protos does not import certs"),
        ("weft/cli.py", "import proxy.main\n", "imports the inside of none"),
        ("weft/cli.py", "def f():\n    import proxy.stats\n", "imports the inside of none"),
        ("weft/up.py", "def f():\n    import proxy.main\n", "imports the inside of none"),
        ("proxy/config/a.py", "import asyncio\n", "not a shell"),
        ("proxy/xds/delta.py", "from grpc import aio\n", "not a shell"),
        ("proxy/http/h1.py", "def f():\n    import socket\n", "not a shell"),
        ("proxy/config/a.py", "from google.protobuf import any_pb2\n", "protobuf table"),
        ("proxy/http/h1.py", "from envoy.config.core.v3 import base_pb2\n", "protobuf table"),
        ("proxy/main.py", "from protos.gen.weft.v1 import management_pb2\n", "protobuf table"),
        ("proxy/http/h1.py", "import time\ntime.time()\n", "reads time.time"),
        ("proxy/http/h1.py", "from time import monotonic\n", "reads time.monotonic"),
        ("proxy/http/h1.py", "import datetime as d\nd.datetime.now()\n", "reads datetime.now"),
        ("proxy/http/h1.py", "x = 1\n" * 601, "601 lines, the wall is 600"),
        ("proxy/http/h1.py", "def f():\n" + "    x = 1\n" * 60, "f has 61 lines, the wall is 60"),
    ],
)
def test_a_broken_rule_is_named_with_its_reason(path: str, text: str, says: str) -> None:
    (message,) = judge(path, text)
    assert message.startswith(path)
    assert says in message


def test_files_are_found_with_their_line_and_generated_code_is_left_out(tmp_path: Path) -> None:
    for path in ("proxy/http/h1.py", "protos/gen/x_pb2.py", "proxy/__pycache__/x.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("\n\nimport proxy.main\n")
    (message,) = violations(read_rules(ARCHITECTURE), read_trees(tmp_path))
    assert message.startswith("proxy/http/h1.py:3: imports proxy.main: ")


def test_a_long_function_below_the_wall_is_only_listed() -> None:
    source = read_source("proxy/http/h1.py", "def f():\n" + "    x = 1\n" * 40)
    assert violations(read_rules(ARCHITECTURE), [source]) == []
    assert nearly_too_long([source]) == ["41 lines: proxy/http/h1.py:1 f"]


def test_a_missing_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="no table with the columns tree, shells"):
        read_rules("| tree | level | rooms |\n|---|---|---|\n")
