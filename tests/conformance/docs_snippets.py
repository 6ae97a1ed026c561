"""The snippets of Envoy's documentation: those whose type Envoy's CI checks must be read as such;
a whole bootstrap is judged as those of `envoy_configs`. The rest are parts of files: no traceback.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from proxy.config.fields import UNSUPPORTED
from proxy.config.positions import BadConfig, compose
from proxy.config.rejected import Rejected
from proxy.config.yaml_message import Reader
from tests.conformance.loading import crashed, judged, refusal
from tests.conformance.suite import Result

BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"
MODULES = {
    "envoy.config.core.v3": "base_pb2",
    "envoy.config.listener.v3": "listener_pb2",
    "envoy.config.cluster.v3": "cluster_pb2",
    "envoy.config.bootstrap.v3": "bootstrap_pb2",
    "envoy.extensions.filters.http.oauth2.v3": "oauth_pb2",
    "envoy.extensions.filters.http.set_filter_state.v3": "set_filter_state_pb2",
    "envoy.extensions.filters.http.sxg.v3alpha": "sxg_pb2",
    "envoy.config.common.matcher.v3": "matcher_pb2",
}


def run(cases: Path) -> Iterator[Result]:
    folder = cases / "snippets"
    for entry in json.loads((folder / "index.json").read_text()):
        path = folder / entry["file"]
        if path.exists():
            yield _judge(path, entry["declaredType"])


def _judge(path: Path, declared: str | None) -> Result:
    try:
        if declared in (None, BOOTSTRAP):
            found = refusal(path)
            return judged(path.name, True, found) if declared else Result(path.name)
        Reader().read(compose(path), _message(str(declared)))
    except (BadConfig, Rejected) as error:
        if UNSUPPORTED in str(error):
            return judged(path.name, True, str(error))
        return Result(path.name, f"is a {declared}: {error}")
    except Exception as error:
        return crashed(path.name, error)
    return Result(path.name)


def _message(name: str) -> Message:
    package = next(each for each in MODULES if name.startswith(each + "."))
    kind: Any = importlib.import_module(f"{package}.{MODULES[package]}")
    for part in name.removeprefix(package + ".").split("."):
        kind = getattr(kind, part)
    message: Message = kind()
    return message
