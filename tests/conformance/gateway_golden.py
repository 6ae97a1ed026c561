"""The resources that Envoy Gateway makes, over xDS: acknowledged where Envoy 1.40 acknowledges.

The status that it gives objects of Gateway API is judged by `eg_status`. What Weft lacks it must
name. Sets that Envoy's messages can't hold (`protoError`) are not asked.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format

from protos.types import CDS, EDS, LDS, RDS, SDS
from proxy.config.decode import RESOURCES, decode
from proxy.config.rejected import Rejected
from tests.conformance import eg_status
from tests.conformance.loading import crashed, judged
from tests.conformance.suite import Result

VERDICTS = "envoy-1.40.0.ads.shared.json"
FOLDER = Path("xds/translator/testdata/out/xds-ir")
KINDS = {"clusters": CDS, "endpoints": EDS, "listeners": LDS, "routes": RDS, "secrets": SDS}


def run(cases: Path) -> Iterator[Result]:
    verdicts = json.loads((cases / VERDICTS).read_text())
    for name, kinds in verdicts.items():
        for kind, verdict in kinds.items():
            path = cases / FOLDER / f"{name}.{kind}.yaml"
            if kind in KINDS and path.exists():
                yield _judge(f"{name}/{kind}", KINDS[kind], path, verdict == "ACK")
    yield from eg_status.run(cases)


def _judge(name: str, type_url: str, path: Path, envoy_acks: bool) -> Result:
    text = path.read_text()
    for type_name in set(re.findall(r"type\.googleapis\.com/([\w.]+)", text)):
        _import(type_name.rpartition(".")[0])
    refused = ""
    for item in yaml.load(text, Loader=yaml.CSafeLoader) or []:
        try:
            message: Any = json_format.ParseDict(item, RESOURCES[type_url].message())
            decode(type_url, message.SerializeToString())
        except Rejected as error:
            refused = str(error)
        except Exception as error:
            return crashed(name, error)
    return judged(name, envoy_acks, refused)


@cache
def _import(package: str) -> None:
    """All messages of a package, so that an Any of them can be read."""
    try:
        found = importlib.import_module(package)
    except ModuleNotFoundError:
        return  # an extension that xds-protos does not have
    for module in pkgutil.iter_modules(found.__path__):
        importlib.import_module(f"{package}.{module.name}")
