"""Clusters that Envoy takes are taken, and those that it refuses are refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from proxy.config import bootstrap
from proxy.config.positions import BadConfig
from tests.support.envoy import BINARY, require_envoy

_EXTENSIONS = "type.googleapis.com/envoy.extensions."
_LB = f"{_EXTENSIONS}load_balancing_policies."


def typed(kind: str, **fields: Any) -> dict[str, Any]:
    config = {"@type": f"{_LB}{kind}", **fields}
    policies = [{"typed_extension_config": {"name": "x", "typed_config": config}}]
    return {"load_balancing_policy": {"policies": policies}}


def subset(*selectors: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"lb_subset_config": {"subset_selectors": list(selectors), **more}}


def kind(name: str, config: str, **fields: Any) -> dict[str, Any]:
    packed = {"@type": f"{_EXTENSIONS}clusters.{config}", **fields}
    return {"cluster_type": {"name": name, "typed_config": packed}}


NAMED = {"socket_address": {"address": "a.test", "port_value": 80}}
LISTED = {"socket_address": {"address": "127.0.0.1", "port_value": 80}}
PIPE = {"pipe": {"path": "/tmp/x"}}
PROVIDED = {"lb_policy": "CLUSTER_PROVIDED"}
CACHE: dict[str, Any] = {"dns_cache_config": {"name": "c"}}
FORWARD = ("envoy.clusters.dynamic_forward_proxy", "dynamic_forward_proxy.v3.ClusterConfig")
AGGREGATE = ("envoy.clusters.aggregate", "aggregate.v3.ClusterConfig")


def to(*addresses: dict[str, Any], **more: Any) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": each}, **more} for each in addresses]
    return {"load_assignment": {"cluster_name": "a", "endpoints": [{"lb_endpoints": endpoints}]}}


CASES: dict[str, dict[str, Any]] = {
    "ring": {"lb_policy": "RING_HASH"},
    "ring too small": {
        "lb_policy": "RING_HASH",
        "ring_hash_lb_config": {"minimum_ring_size": 9, "maximum_ring_size": 5},
    },
    "ring too large": {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 9e6}},
    "maglev": {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 31}},
    "maglev no prime": {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 30}},
    "maglev too large": {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 5000081}},
    "provided by a static cluster": PROVIDED,
    "hostname of a static cluster": {
        "lb_policy": "RING_HASH",
        "common_lb_config": {"consistent_hashing_lb_config": {"use_hostname_for_hashing": True}},
    },
    "hostname of a typed policy": typed(
        "ring_hash.v3.RingHash", consistent_hashing_lb_config={"use_hostname_for_hashing": True}
    ),
    "balance factor too small": {
        "lb_policy": "RING_HASH",
        "common_lb_config": {"consistent_hashing_lb_config": {"hash_balance_factor": 50}},
    },
    "typed round robin": typed("round_robin.v3.RoundRobin"),
    "typed least request": typed("least_request.v3.LeastRequest", choice_count=3),
    "typed maglev": typed("maglev.v3.Maglev", table_size=101),
    "typed maglev no prime": typed("maglev.v3.Maglev", table_size=100),
    "typed nothing": {"load_balancing_policy": {"policies": []}},
    "subset": subset({"keys": ["a"]}),
    "subset without keys": subset({"keys": []}),
    "subset keys fallback": subset(
        {"keys": ["a", "b"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["a"]}
    ),
    "subset keys fallback to all": subset(
        {"keys": ["a"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["a"]}
    ),
    "subset keys fallback to none": subset({"keys": ["a"], "fallback_policy": "KEYS_SUBSET"}),
    "subset keys without the policy": subset({"keys": ["a", "b"], "fallback_keys_subset": ["a"]}),
    "subset keys fallback elsewhere": subset(
        {"keys": ["a", "b"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["c"]}
    ),
    "locality weighted": {"common_lb_config": {"locality_weighted_lb_config": {}}},
    "slow start": {"round_robin_lb_config": {"slow_start_config": {"slow_start_window": "60s"}}},
    "strict dns": {"type": "STRICT_DNS", **to(NAMED)},
    "static with a name": to(NAMED),
    "static with a socket": to(PIPE),
    "logical dns": {"type": "LOGICAL_DNS", **to(NAMED)},
    "logical dns of two": {"type": "LOGICAL_DNS", **to(NAMED, NAMED)},
    "dns failure rate": {
        "type": "STRICT_DNS",
        "dns_failure_refresh_rate": {"base_interval": "2s", "max_interval": "1s"},
        **to(NAMED),
    },
    "dns refresh too fast": {"type": "STRICT_DNS", "dns_refresh_rate": "0.0001s", **to(NAMED)},
    "original destination": {"type": "ORIGINAL_DST", **PROVIDED},
    "original destination by round robin": {"type": "ORIGINAL_DST"},
    "original destination with hosts": {"type": "ORIGINAL_DST", **PROVIDED, **to(LISTED)},
    "original destination cleanup": {
        "type": "ORIGINAL_DST", **PROVIDED, "cleanup_interval": "0s",
    },
    "aggregate": {**kind(*AGGREGATE, clusters=["b"]), **PROVIDED},
    "aggregate of nothing": {**kind(*AGGREGATE, clusters=[]), **PROVIDED},
    "aggregate by round robin": kind(*AGGREGATE, clusters=["b"]),
    "forward": {**kind(*FORWARD, **CACHE), **PROVIDED},
    "forward by round robin": kind(*FORWARD, **CACHE),
    "forward to whom nobody checks": {
        **kind(*FORWARD, **CACHE), **PROVIDED, "upstream_http_protocol_options": {},
    },
    "forward to whom nobody checks, on purpose": {
        **kind(*FORWARD, **CACHE, allow_insecure_cluster_options=True),
        **PROVIDED,
        "upstream_http_protocol_options": {},
    },
    "bind": {"upstream_bind_config": {"source_address": {"address": "127.0.0.1", "port_value": 0}}},
    "bind to a name": {
        "upstream_bind_config": {"source_address": {"address": "a.test", "port_value": 0}}
    },
    "keepalive": {"upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 9}}},
    "drop overloads": {
        "load_assignment": {
            "cluster_name": "a",
            "policy": {"drop_overloads": [{"category": "x", "drop_percentage": {"numerator": 9}}]},
        }
    },
    "priority with a gap": {
        "load_assignment": {
            "cluster_name": "a",
            "endpoints": [{"priority": 1, "lb_endpoints": [{"endpoint": {"address": LISTED}}]}],
        }
    },
}  # fmt: skip


def config(name: str) -> dict[str, Any]:
    cluster = {"name": "a", "connect_timeout": "1s", **CASES[name]}
    other = {"name": "b", "connect_timeout": "1s", "type": "STATIC"}
    return {"static_resources": {"clusters": [cluster, other]}}


@pytest.mark.parametrize("name", CASES)
def test_as_envoy(name: str, tmp_path: Path) -> None:
    require_envoy()
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(config(name)))
    judged = subprocess.run(
        [str(BINARY), "--mode", "validate", "-c", str(path), "-l", "critical"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    try:
        bootstrap.load(path)
        why = ""
    except BadConfig as error:
        why = str(error)
    assert (why == "") == (judged.returncode == 0), why or judged.stdout + judged.stderr
