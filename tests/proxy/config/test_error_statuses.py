"""Which answers a cluster's error matcher takes for errors."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.common.matcher.v3.matcher_pb2 import MatchPredicate
from google.protobuf import json_format

from proxy.config.decode_errors import error_statuses
from proxy.config.rejected import Rejected


def status(**how: Any) -> dict[str, Any]:
    header = {"name": ":status", **how}
    return {"http_response_headers_match": {"headers": [header]}}


def exact(code: int) -> dict[str, Any]:
    return status(string_match={"exact": str(code)})


def found(tree: dict[str, Any]) -> frozenset[int]:
    return error_statuses(json_format.ParseDict(tree, MatchPredicate()), "m")


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (exact(403), {403}),
        ({"or_match": {"rules": [exact(403), exact(429)]}}, {403, 429}),
        (status(range_match={"start": "401", "end": "404"}), {401, 402, 403}),
        (status(string_match={"prefix": "40"}), set(range(400, 410))),
        (status(string_match={"suffix": "99"}), {199, 299, 399, 499, 599}),
        (status(present_match=True), set(range(100, 600))),
        ({"not_match": status(range_match={"start": "101", "end": "600"})}, {100}),
        ({"any_match": True}, set(range(100, 600))),
        (
            {
                "and_match": {
                    "rules": [
                        status(string_match={"prefix": "5"}),
                        status(string_match={"exact": "503"}, invert_match=True),
                    ]
                }
            },
            set(range(500, 600)) - {503},
        ),
    ],
)
def test_statuses_that_are_errors(tree: dict[str, Any], expected: set[int]) -> None:
    assert found(tree) == expected


@pytest.mark.parametrize(
    ("tree", "where"),
    [
        ({"http_response_headers_match": {"headers": [{"name": "x"}]}}, "headers[0].name"),
        (status(string_match={"safe_regex": {"regex": "5.*"}}), "headers[0]"),
        ({}, "m"),
    ],
)
def test_what_is_not_of_the_status_is_refused_by_its_path(tree: dict[str, Any], where: str) -> None:
    with pytest.raises(Rejected) as refused:
        found(tree)
    assert where in str(refused.value)
