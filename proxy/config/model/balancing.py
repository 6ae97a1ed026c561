"""Load-balancing policies (`cluster.v3.Cluster.lb_policy` and `load_balancing_policies.*`).

The old fields of a cluster and the typed extensions decode to the same classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from protos.frozen import frozen
from proxy.config.model.health import SlowStart


@frozen
class LocalityLb:
    """`LocalityLbConfig`: how localities share the load within a priority.

    weighted: by the localities' weights; else by zone, when a local cluster is known."""

    weighted: bool = False
    routing_enabled: float = 100.0
    min_cluster_size: int = 6
    fail_traffic_on_panic: bool = False
    force_direct: bool = False
    by_weight: bool = False
    """`locality_basis: HEALTHY_HOSTS_WEIGHT`: hosts count by their weight."""


NO_LOCALITY = LocalityLb()


@frozen
class RoundRobinLb:
    slow_start: SlowStart | None = None
    locality: LocalityLb = NO_LOCALITY


ROUND_ROBIN = RoundRobinLb()


@frozen
class LeastRequestLb:
    """full_scan: all hosts are looked at, not `choice_count` random ones."""

    choice_count: int = 2
    active_request_bias: float = 1.0
    full_scan: bool = False
    slow_start: SlowStart | None = None
    locality: LocalityLb = NO_LOCALITY


@frozen
class RandomLb:
    locality: LocalityLb = NO_LOCALITY


@frozen
class RingHashLb:
    """balance_factor: `hash_balance_factor` in percent; 0 is unbounded."""

    hash_function: Literal["XX_HASH", "MURMUR_HASH_2"] = "XX_HASH"
    minimum_ring_size: int = 1024
    maximum_ring_size: int = 8 * 1024 * 1024
    use_hostname: bool = False
    balance_factor: int = 0
    locality: LocalityLb = NO_LOCALITY


@frozen
class MaglevLb:
    table_size: int = 65537
    use_hostname: bool = False
    balance_factor: int = 0
    locality: LocalityLb = NO_LOCALITY


@frozen
class ProvidedLb:
    """`CLUSTER_PROVIDED`: the cluster's own type says who is picked."""


Fallback = Literal["NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET"]
SelectorFallback = Literal[
    "NOT_DEFINED", "NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET", "KEYS_SUBSET"
]


@frozen
class SubsetSelector:
    """keys are sorted; so are `fallback_keys`."""

    keys: tuple[str, ...]
    fallback: SelectorFallback = "NOT_DEFINED"
    fallback_keys: tuple[str, ...] = ()
    single_host: bool = False


@frozen
class PeakEwmaLb:
    """max_samples: of one host, kept until they are taken into its average."""

    decay_s: float = 10.0
    aggregation_interval_s: float = 0.1
    max_samples: int = 1000
    default_rtt_s: float = 0.01
    penalty: float = 1_000_000.0
    locality: LocalityLb = NO_LOCALITY


HostLb = RoundRobinLb | LeastRequestLb | RandomLb | PeakEwmaLb | RingHashLb | MaglevLb
"""What picks one of a list of hosts."""


@frozen
class SubsetLb:
    """`LbSubsetConfig` and `Subset`: `child` picks within a subset."""

    child: HostLb
    selectors: tuple[SubsetSelector, ...] = ()
    fallback: Fallback = "NO_FALLBACK"
    default_subset: Mapping[str, Any] = field(default_factory=dict, hash=False)
    locality_weight_aware: bool = False
    scale_locality_weight: bool = False
    panic_mode_any: bool = False
    list_as_any: bool = False
    allow_redundant_keys: bool = False
    fallback_list: bool = False


Lb = HostLb | SubsetLb | ProvidedLb
