"""Messages as bytes by their fields: what the real library reads of them."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.data.accesslog.v3 import accesslog_pb2

from proxy.wire.protobuf import data, data_key, entry, struct

COMMON, METADATA, NAMESPACES = data_key(1), data_key(17), data_key(1)


def metadata(of: dict[str, Any]) -> dict[str, Any]:
    """What a collector reads where an entry has this metadata."""
    told = data(COMMON, data(METADATA, entry(NAMESPACES, "jwt", struct(of))))
    log = accesslog_pb2.HTTPAccessLogEntry.FromString(told)
    return dict(log.common_properties.metadata.filter_metadata["jwt"])


@pytest.mark.parametrize("wrap", [dict, list])
@pytest.mark.parametrize("levels", [40, 950])
def test_what_lies_too_deep_to_be_read_spoils_nothing(levels: int, wrap: type) -> None:
    deep: Any = "x"
    for _ in range(levels):
        deep = {"a": deep} if wrap is dict else [deep]
    found = metadata({"before": 1.5, "deep": deep, "after": "y"})
    assert (found["before"], found["after"]) == (1.5, "y")


def test_all_kinds_of_values_are_read() -> None:
    given: dict[str, Any] = {
        "a": None,
        "b": True,
        "c": -2,
        "d": b"\xff\xc3\xa9",
        "e": "\ud800",
        "f": {},
        "g": "",
    }
    assert metadata(given) == {
        "a": None, "b": True, "c": -2.0, "d": "!\u00e9", "e": "?", "f": {}, "g": ""
    }  # fmt: skip
