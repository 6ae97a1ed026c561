"""Configuration that comes as a `TypedStruct`, which is plain JSON: Istio's way to configure a
filter whose messages a control plane does not have.

Names are protobuf's, in their own spelling or in JSON's. Knows no message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from proxy.config.fields import UNSUPPORTED
from proxy.config.rejected import Rejected

_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def fields(value: object, path: str, known: Sequence[str]) -> Mapping[str, Any]:
    """A message's, by their names in protobuf; null is unset. Another name is refused."""
    if not isinstance(value, dict):
        raise Rejected(path, "wants a message")
    found: dict[str, Any] = {}
    for given, each in value.items():
        name = _HUMP.sub(lambda hump: f"_{hump[1].lower()}", given)
        if name not in known:
            raise Rejected(f"{path}.{given}", f"is {UNSUPPORTED} (it knows {', '.join(known)})")
        if each is not None:
            found[name] = each
    return found


def messages(given: Mapping[str, Any], name: str, path: str) -> Sequence[Any]:
    value = given.get(name, [])
    if not isinstance(value, list):
        raise Rejected(f"{path}.{name}", "wants a list")
    return value


def texts(given: Mapping[str, Any], name: str, path: str) -> tuple[str, ...]:
    found = messages(given, name, path)
    if not all(isinstance(one, str) for one in found):
        raise Rejected(f"{path}.{name}", "wants a list of texts")
    return tuple(found)


def text(given: Mapping[str, Any], name: str, path: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise Rejected(f"{path}.{name}", "wants a text")
    return value


def switch(given: Mapping[str, Any], name: str, path: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise Rejected(f"{path}.{name}", "wants a boolean")
    return value


def duration_s(given: Mapping[str, Any], name: str, path: str, default_s: float) -> float:
    """JSON's form of a `Duration`: `5s`, `0.25s`."""
    if name not in given:
        return default_s
    match = _DURATION.fullmatch(given[name]) if isinstance(given[name], str) else None
    if match is None:
        raise Rejected(f"{path}.{name}", "wants a duration like `5s`")
    return float(match[1])
