"""Ring, Maglev and subset contents judged by a real Envoy: the same cluster, the same hashes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from proxy.config.any_types import message_type
from tests.support.hash_judge import Case, Picked, envoy_picks, weft_picks

_LB = "type.googleapis.com/envoy.extensions.load_balancing_policies."
ASKED = 200
UNSTEADY = (
    "ring_hash_lb.size",
    "ring_hash_lb.min_hashes_per_host",
    "ring_hash_lb.max_hashes_per_host",
    "membership_change",
)
COMPARED = ("ring_hash_lb.", "maglev_lb.", "lb_subsets_", "lb_healthy_panic", "membership_")


def endpoint(port: int, **more: Any) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    hostname = {"hostname": more.pop("hostname")} if "hostname" in more else {}
    return {"endpoint": {"address": address, **hostname}, **more}


def labelled(port: int, health: str = "UNKNOWN", **labels: Any) -> dict[str, Any]:
    metadata = {"filter_metadata": {"envoy.lb": labels}}
    return endpoint(port, metadata=metadata, health_status=health)


def group(*endpoints: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"lb_endpoints": list(endpoints), **more}


def zone(name: str, weight: int) -> dict[str, Any]:
    return {"locality": {"zone": name}, "load_balancing_weight": weight}


def typed(name: str, **fields: Any) -> dict[str, Any]:
    kind = "".join(part.title() for part in name.split("_"))
    config = {"@type": f"{_LB}{name}.v3.{kind}", **fields}
    message_type(config["@type"].rpartition("/")[2])  # protobuf's JSON knows what was imported only
    policies = [{"typed_extension_config": {"name": name, "typed_config": config}}]
    return {"policies": policies}


def ring(**sizes: Any) -> dict[str, Any]:
    return {"lb_policy": "RING_HASH", "ring_hash_lb_config": sizes}


def maglev(**config: Any) -> dict[str, Any]:
    return {"lb_policy": "MAGLEV", "maglev_lb_config": config}


PLAIN = [group(*(endpoint(port) for port in range(1, 8)))]
WEIGHTED = [group(*(endpoint(port, load_balancing_weight=port) for port in range(1, 8)))]
NAMED = [group(*(endpoint(port, hostname=f"host-{port % 5}-{port}") for port in range(1, 8)))]
KEYED = [group(*(labelled(port, hash_key=f"key {port}") for port in range(1, 6)), endpoint(9))]
ZONES = [
    group(endpoint(1), endpoint(2, load_balancing_weight=3), **zone("b", 2)),
    group(endpoint(3), endpoint(4), endpoint(5), **zone("a", 5)),
    group(endpoint(6), locality={"zone": "c"}),
]
SICK = [group(endpoint(1), *(endpoint(port, health_status="UNHEALTHY") for port in range(2, 7)))]
PRIORITIES = [
    group(endpoint(1), endpoint(2), *(endpoint(at, health_status="TIMEOUT") for at in (3, 4, 5))),
    group(endpoint(6), endpoint(7), endpoint(8), priority=1),
]
DRAINING = [
    group(endpoint(1), endpoint(2), *(endpoint(at, health_status="DRAINING") for at in (3, 4, 5))),
    group(endpoint(6), endpoint(7), endpoint(8), priority=1),
]
ALL_SICK = [
    group(*(endpoint(at, health_status="UNHEALTHY") for at in (1, 2, 3))),
    group(endpoint(4, health_status="UNHEALTHY"), priority=1),
]
DEGRADED = [
    group(
        endpoint(1),
        endpoint(2, health_status="DEGRADED"),
        *(endpoint(port, health_status="UNHEALTHY") for port in (3, 4)),
    )
]
BY_HOSTNAME = {
    "type": "STRICT_DNS",
    "common_lb_config": {"consistent_hashing_lb_config": {"use_hostname_for_hashing": True}},
}
BY_ZONE: dict[str, Any] = {"common_lb_config": {"locality_weighted_lb_config": {}}}
NEVER_PANIC = {"common_lb_config": {"healthy_panic_threshold": {"value": 0}}}

TABLES = {
    "ring": Case(PLAIN, ring()),
    "ring weighted": Case(WEIGHTED, ring()),
    "ring small": Case(WEIGHTED, ring(minimum_ring_size=7, maximum_ring_size=30)),
    "ring capped": Case(WEIGHTED, ring(minimum_ring_size=1, maximum_ring_size=10)),
    "ring murmur": Case(NAMED, ring(hash_function="MURMUR_HASH_2")),
    "ring by hostname": Case(NAMED, {**ring(), **BY_HOSTNAME}),
    "ring by key": Case(KEYED, ring()),
    "ring of zones": Case(ZONES, {**ring(), **BY_ZONE}),
    "ring panic": Case(SICK, ring()),
    "ring no panic": Case(SICK, {**ring(), **NEVER_PANIC}),
    "ring priorities": Case(PRIORITIES, ring()),
    "ring draining": Case(DRAINING, ring()),
    "ring all sick": Case(ALL_SICK, ring()),
    "ring none left": Case(ALL_SICK, {**ring(), **NEVER_PANIC}),
    "ring degraded": Case(DEGRADED, ring()),
    "ring typed": Case(
        WEIGHTED, {"load_balancing_policy": typed("ring_hash", minimum_ring_size=99)}
    ),
    "maglev": Case(PLAIN, maglev()),
    "maglev weighted": Case(WEIGHTED, maglev()),
    "maglev small": Case(WEIGHTED, maglev(table_size=101)),
    "maglev by hostname": Case(NAMED, {**maglev(), **BY_HOSTNAME}),
    "maglev of zones": Case(
        ZONES,
        {"load_balancing_policy": typed("maglev", table_size=503, locality_weighted_lb_config={})},
    ),
    "maglev priorities": Case(PRIORITIES, maglev(table_size=101)),
}

STAGES = [
    group(
        labelled(1, stage="prod", version="1", size=1),
        labelled(2, stage="prod", version="2", size="1"),
        labelled(3, stage="prod", version="2", size=True),
        labelled(4, stage="dev", version="2"),
        labelled(5, "UNHEALTHY", stage="test", version="3"),
        labelled(6, stage=["dev", "canary"], version="1"),
        endpoint(7),
    )
]
STAGE = {"keys": ["stage"]}


def subset(match: Mapping[str, Any], *selectors: Any, **more: Any) -> Case:
    """Subsets of STAGES with a small ring in each."""
    config = {"subset_selectors": list(selectors), **more}
    cluster = {**ring(minimum_ring_size=20), "lb_subset_config": config}
    return Case(STAGES, cluster, match)


def keys_subset(*keys: str, fallback: str = "KEYS_SUBSET", fewer: tuple[str, ...] = ()) -> Any:
    made = {"keys": list(keys), "fallback_policy": fallback}
    return {**made, "fallback_keys_subset": list(fewer)} if fewer else made


BOTH_KEYS = ("stage", "version")
PROD = {"stage": "prod"}
NOWHERE = {"stage": "nowhere"}
SUBSETS = {
    "subset": subset(PROD, STAGE),
    "subset value type": subset({"size": 1}, {"keys": ["size"]}),
    "subset of true": subset({"size": True}, {"keys": ["size"]}),
    "subset two keys": subset({"version": "2", "stage": "prod"}, {"keys": list(BOTH_KEYS)}),
    "subset part of keys": subset(PROD, {"keys": list(BOTH_KEYS)}, fallback_policy=1),
    "subset redundant key": subset({**PROD, "other": "x"}, STAGE, fallback_policy=1),
    "subset no match": subset({}, STAGE),
    "subset no match any": subset({}, STAGE, fallback_policy="ANY_ENDPOINT"),
    "subset none": subset(NOWHERE, STAGE),
    "subset any": subset(NOWHERE, STAGE, fallback_policy="ANY_ENDPOINT"),
    "subset default": subset(
        NOWHERE, STAGE, fallback_policy="DEFAULT_SUBSET", default_subset={"version": "1"}
    ),
    "subset default empty": subset(
        NOWHERE, STAGE, fallback_policy="DEFAULT_SUBSET", default_subset={"version": "9"}
    ),
    "subset panic any": subset(
        NOWHERE,
        STAGE,
        fallback_policy="DEFAULT_SUBSET",
        default_subset={"version": "9"},
        panic_mode_any=True,
    ),
    "subset sick": subset({"stage": "test"}, STAGE, fallback_policy="ANY_ENDPOINT"),
    "subset list": subset({"stage": "canary"}, STAGE, list_as_any=True),
    "subset list is a value": subset({"stage": "canary"}, STAGE),
    "subset list default": subset(
        NOWHERE,
        STAGE,
        fallback_policy="DEFAULT_SUBSET",
        default_subset={"stage": "dev"},
        list_as_any=True,
    ),
    "selector any": subset(NOWHERE, keys_subset("stage", fallback="ANY_ENDPOINT")),
    "selector none": subset(
        NOWHERE, keys_subset("stage", fallback="NO_FALLBACK"), fallback_policy="ANY_ENDPOINT"
    ),
    "selector default": subset(
        NOWHERE, keys_subset("stage", fallback="DEFAULT_SUBSET"), default_subset={"version": "2"}
    ),
    "selector fewer keys": subset(
        {"stage": "prod", "version": "9"}, keys_subset(*BOTH_KEYS, fewer=("stage",)), STAGE
    ),
    "selector fewer keys, then nobody": subset(
        {"stage": "nowhere", "version": "9"},
        keys_subset(*BOTH_KEYS, fewer=("stage",)),
        keys_subset("stage", fallback="ANY_ENDPOINT"),
    ),
    "selector hidden by a longer one": subset(
        NOWHERE,
        {"keys": list(BOTH_KEYS)},
        keys_subset("stage", fallback="ANY_ENDPOINT"),
        fallback_policy="DEFAULT_SUBSET",
        default_subset={"version": "2"},
    ),
    "fallback list": subset(
        {"fallback_list": [{"stage": "nowhere"}, {"stage": "prod"}]},
        STAGE,
        metadata_fallback_policy="FALLBACK_LIST",
    ),
    "fallback list with a key": subset(
        {"version": "2", "fallback_list": [{"stage": "x"}, {"stage": "dev"}, {"version": "1"}]},
        {"keys": list(BOTH_KEYS)},
        metadata_fallback_policy="FALLBACK_LIST",
    ),
    "fallback list unused": subset(
        {"stage": "prod", "fallback_list": [{"stage": "dev"}]}, STAGE, fallback_policy=1
    ),
    "single host": subset(
        {"version": "2"}, {"keys": ["version"], "single_host_per_subset": True}, fallback_policy=1
    ),
}
CASES = {**TABLES, **SUBSETS}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Picked]:
    return envoy_picks(CASES, ASKED, tmp_path_factory.mktemp("envoy"))


@pytest.mark.parametrize("name", CASES)
def test_as_envoy(name: str, judged: dict[str, Picked]) -> None:
    seen, ours = judged[name], weft_picks(name, CASES[name], ASKED)
    assert len(seen.hosts) == ASKED
    assert ours.hosts == seen.hosts
    theirs = {key: value for key, value in seen.stats.items() if key.startswith(COMPARED)}
    for name_of_both_threads in ("lb_subsets_active", "lb_subsets_created"):
        theirs[name_of_both_threads] //= 2
    if name in SUBSETS or "hostname" in name:  # Envoy: of whichever ring was made last
        theirs = {key: theirs[key] for key in theirs if key not in UNSTEADY}
    assert {key: ours.stats.get(key, 0) for key in theirs} == theirs


def test_the_cases_are_not_all_alike(judged: dict[str, Picked]) -> None:
    assert len({tuple(picked.hosts) for picked in judged.values()}) > 30
