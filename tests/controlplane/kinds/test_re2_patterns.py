"""Which regular expressions RE2 takes; a real Envoy, which has it, is the judge."""

from __future__ import annotations

import json
import subprocess

import pytest

from controlplane.kinds.regex import fault_of
from tests.support.envoy import BINARY, require_envoy

FILTERS = "type.googleapis.com/envoy.extensions.filters"


TAKEN = [
    "",
    "a.*",
    r"^/api/v\d+(/.*)?$",
    r"^(.*?;)?(user=jason)(;.*)?$",
    "(?i)abc",
    "(?i:abc)d",
    "(?s-m:a.)b",
    "(?P<name>a)(?<other>b)",
    r"\pN\p{Greek}\P{Lu}",
    "[[:alpha:]_]+",
    "[^[:space:]]",
    r"\Aabc\z",
    r"\Q(?=\E",
    "a{1000}",
    r"\(\?=a\)",
    r"\\1",
    "[*+]+",
    "a+?b*?",
    "日本.*",
]
REFUSED = [
    ("(", "not a regular expression"),
    ("[a", "not a regular expression"),
    ("*a", "not a regular expression"),
    ("a**", "not a regular expression"),
    ("(?=a)", "look-around"),
    ("(?!a)b", "look-around"),
    ("(?<=a)b", "look-around"),
    ("(?<!a)b", "look-around"),
    (r"(a)\1", "back-references"),
    ("(?P<n>a)(?P=n)", "back-references"),
    ("a++", "possessive"),
    ("(?>a)", "possessive or atomic"),
    ("(a)?(?(1)b|c)", "conditions"),
    ("a(?#why)b", "comments"),
    (r"a\Z", r"use \z"),
    ("a{1001}", "more than 1000"),
    ("a{1,99999999}", "more than 1000"),
    (r"\\(?=a)", "look-around"),
    (r"\u0041", "use"),
]


@pytest.mark.parametrize("pattern", TAKEN)
def test_taken(pattern: str) -> None:
    assert fault_of(pattern) == ""


@pytest.mark.parametrize(("pattern", "says"), REFUSED)
def test_refused(pattern: str, says: str) -> None:
    assert says in fault_of(pattern)


def table(pattern: str) -> str:
    """A bootstrap with `pattern` in a route; Istio's program size, not Envoy's small default."""
    match = {"safe_regex": {"regex": pattern}}
    route = {"match": match, "direct_response": {"status": 200}}
    manager = {
        "@type": f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "r", "typed_config": {"@type": f"{FILTERS}.http.router.v3.Router"}}
        ],
    }
    listener = {
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "h", "typed_config": manager}]}],
    }
    runtime = {"re2": {"max_program_size": {"error_level": 32768}}}
    layers = [{"name": "static", "static_layer": runtime}]
    return json.dumps(
        {"static_resources": {"listeners": [listener]}, "layered_runtime": {"layers": layers}}
    )


@pytest.mark.parametrize("pattern", [*TAKEN[1:], *(pattern for pattern, _ in REFUSED)])
def test_envoy_agrees(pattern: str) -> None:
    """TAKEN[0], the empty pattern, is refused by Envoy's own rule, not by RE2."""
    require_envoy()
    command = [str(BINARY), "--mode", "validate", "--config-yaml", table(pattern)]
    verdict = subprocess.run(command, capture_output=True, check=False, timeout=100)
    assert (verdict.returncode == 0) == (fault_of(pattern) == ""), verdict.stderr[-500:]
