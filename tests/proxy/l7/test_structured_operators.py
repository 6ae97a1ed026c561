"""Operators whose values may be objects, in text and in JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.l7.format import compile_format, compile_json
from tests.support.streams import LoggedStream

METADATA: dict[str, dict[str, Any]] = {
    "f": {"s": 'a"b\n', "n": 2.0, "h": 1.5, "b": True, "l": [1.0, "x"], "o": {"z": 1.0, "a": None}}
}


class Counts:
    """An object that knows itself as text and as JSON."""

    def __str__(self) -> str:
        return "1,2"

    def as_json(self) -> dict[str, int]:
        return {"one": 1, "two": 2}


def stream() -> Any:
    return LoggedStream(metadata=METADATA, filter_state={"text": "v\n", "counts": Counts()})


@pytest.mark.parametrize(
    ("operator", "text", "value"),
    [
        ("DYNAMIC_METADATA(f:s)", r"a\x22b\x0A", 'a"b\n'),
        ("DYNAMIC_METADATA(f:s):1", "a", "a"),
        ("DYNAMIC_METADATA(f:n)", "2", 2),
        ("DYNAMIC_METADATA(f:h)", "1.5", 1.5),
        ("DYNAMIC_METADATA(f:b)", "true", True),
        ("DYNAMIC_METADATA(f:l)", '[1,"x"]', [1, "x"]),
        ("DYNAMIC_METADATA(f:o)", '{"a":null,"z":1}', {"a": None, "z": 1}),
        ("DYNAMIC_METADATA(f:o:z)", "1", 1),
        ("DYNAMIC_METADATA(f:none)", "-", None),
        ("DYNAMIC_METADATA(none)", "-", None),
        ("METADATA(DYNAMIC:f:n)", "2", 2),
        ("METADATA(ROUTE:f:n)", "-", None),
        ("FILTER_STATE(text:PLAIN)", r"v\x0A", "v\n"),
        ("FILTER_STATE(text)", '"v\\n"', "v\n"),
        ("FILTER_STATE(counts:PLAIN)", "1,2", "1,2"),
        ("FILTER_STATE(counts)", '{"one":1,"two":2}', {"one": 1, "two": 2}),
        ("FILTER_STATE(counts:FIELD:two)", "2", 2),
        ("FILTER_STATE(none)", "-", None),
    ],
)
def test_in_text_and_in_json(operator: str, text: str, value: object) -> None:
    assert compile_format(f"%{operator}%")(stream()).decode() == text
    assert json.loads(compile_json({"v": f"%{operator}%"})(stream())) == {"v": value}


def test_what_is_missing_is_left_out() -> None:
    plain = {
        "kept": "%DYNAMIC_METADATA(f:n)%",
        "gone": "%DYNAMIC_METADATA(none)%",
        "empty": {"gone": "%REQ(X-NO)%"},
        "list": ["%REQ(X-NO)%", 1.0],
        "text": "[%REQ(X-NO)%]",
        "null": None,
    }
    line = compile_json(plain, omits_empty=True)(stream())
    assert json.loads(line) == {"kept": 2, "list": [1], "text": "[]"}
    assert compile_json({"a": "%REQ(X-NO)%"}, omits_empty=True)(stream()) == b"{}\n"
    assert compile_format("[%REQ(X-NO)%]", omits_empty=True)(stream()) == b"[]"
