"""Files of what is expected: compared, or with `WEFT_UPDATE_GOLDEN=1` written anew."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from controlplane.resources import Snapshot
from controlplane.snapshot import Draft
from controlplane.xds.dump import dump
from protos.types import CDS, EDS, LDS, RDS, short_name
from proxy.config.decode import decode
from proxy.xds.as_json import as_json

Parts = dict[str, Any]
"""Resources by type and name, of a listener its chains and of a table its hosts each for itself."""


class _Dumper(yaml.CSafeDumper):
    """What two inputs have in common is written out in both."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def hold(path: Path, text: str) -> None:
    """The file says the same."""
    if os.environ.get("WEFT_UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert text == path.read_text()


def as_text(tree: Any) -> str:
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=True, width=100)


def bodies(draft: Draft) -> Iterator[tuple[str, bytes]]:
    """(type URL, message) of all but secrets."""
    for type_url, messages in (
        (CDS, draft.clusters),
        (EDS, draft.endpoints),
        (LDS, draft.listeners),
        (RDS, draft.routes),
    ):
        for message in messages:
            yield type_url, message.SerializeToString(deterministic=True)


def read_by_weft(draft: Draft) -> None:
    """Nothing of it is refused."""
    for type_url, body in bodies(draft):
        decode(type_url, body)


def resources_of(snapshot: Snapshot) -> str:
    """All of them, by type and name."""
    tree = dump(snapshot)
    resources = {
        short: {key: item["resource"] for key, item in items.items()}
        for short, items in tree.items()
        if short != "version"
    }
    return yaml.safe_dump(json.loads(json.dumps(resources)), sort_keys=True, width=100)


# --------------------------------------------------------------------------- what an input changes


@cache
def parts(type_url: str, name: str, body: bytes, *, ours: bool = True) -> Parts:
    """Of one resource. ours: it is one that our own proxy can read."""
    if ours:
        decode(type_url, body)
    resource = json.loads(json.dumps(as_json(type_url, body), sort_keys=True))
    return dict(_divided(f"{short_name(type_url)} {name}", resource))


def _divided(label: str, resource: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, word in (("filter_chains", "chain"), ("virtual_hosts", "host")):
        for index, part in enumerate(resource.pop(key, ())):
            yield f"{label} {word} {part.get('name') or index}", part
    yield label, resource


def beyond(found: Parts, base: Mapping[str, Any]) -> Parts:
    """What is new or other than in the base, and the names of what is no more."""
    kept: Parts = {key: value for key, value in found.items() if base.get(key) != value}
    if gone := sorted(base.keys() - found.keys()):
        kept["gone"] = gone
    return kept
