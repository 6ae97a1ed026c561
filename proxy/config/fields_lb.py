"""Rows of the field table: load balancing, the old fields and the typed policies."""

from __future__ import annotations

from proxy.config.field_rules import Fields, Table

_CLUSTER = "envoy.config.cluster.v3.Cluster."
_LB = "envoy.extensions.load_balancing_policies."
_LOCALITY = _LB + "common.v3.LocalityLbConfig"
_ZONE = "routing_enabled min_cluster_size fail_traffic_on_panic"
_RUNTIME = {"runtime_key": "balancers take the default value, whatever the runtime says"}
_SUBSET = (
    "fallback_policy default_subset subset_selectors locality_weight_aware scale_locality_weight "
    "panic_mode_any list_as_any metadata_fallback_policy"
)
_SELECTOR = "keys single_host_per_subset fallback_policy fallback_keys_subset"
_SLOW = "slow_start_window aggression min_weight_percent"

LB: Table = {
    _CLUSTER + "SlowStartConfig": Fields(_SLOW),
    _CLUSTER + "RoundRobinLbConfig": Fields("slow_start_config"),
    _CLUSTER + "LeastRequestLbConfig": Fields("choice_count active_request_bias slow_start_config"),
    _CLUSTER + "RingHashLbConfig": Fields("minimum_ring_size hash_function maximum_ring_size"),
    _CLUSTER + "MaglevLbConfig": Fields("table_size"),
    _CLUSTER + "LbSubsetConfig": Fields(_SUBSET),
    _CLUSTER + "LbSubsetConfig.LbSubsetSelector": Fields(_SELECTOR),
    _CLUSTER + "CommonLbConfig.ZoneAwareLbConfig": Fields(_ZONE),
    _CLUSTER + "CommonLbConfig.LocalityWeightedLbConfig": Fields(),
    _CLUSTER + "CommonLbConfig.ConsistentHashingLbConfig": Fields(
        "use_hostname_for_hashing hash_balance_factor"
    ),
    "envoy.config.core.v3.RuntimeDouble": Fields("default_value", _RUNTIME),
    _LOCALITY: Fields("zone_aware_lb_config locality_weighted_lb_config"),
    _LOCALITY + ".ZoneAwareLbConfig": Fields(
        _ZONE + " force_locality_direct_routing locality_basis"
    ),
    _LOCALITY + ".LocalityWeightedLbConfig": Fields(),
    _LB + "common.v3.SlowStartConfig": Fields(_SLOW),
    _LB + "common.v3.ConsistentHashingLbConfig": Fields(
        "use_hostname_for_hashing hash_balance_factor"
    ),
    _LB + "round_robin.v3.RoundRobin": Fields("slow_start_config locality_lb_config"),
    _LB + "random.v3.Random": Fields("locality_lb_config"),
    _LB + "least_request.v3.LeastRequest": Fields(
        "choice_count active_request_bias slow_start_config locality_lb_config enable_full_scan "
        "selection_method"
    ),
    _LB + "ring_hash.v3.RingHash": Fields(
        "hash_function minimum_ring_size maximum_ring_size use_hostname_for_hashing "
        "hash_balance_factor consistent_hashing_lb_config locality_weighted_lb_config"
    ),
    _LB + "maglev.v3.Maglev": Fields(
        "table_size consistent_hashing_lb_config locality_weighted_lb_config"
    ),
    _LB + "subset.v3.Subset": Fields(_SUBSET + " allow_redundant_keys subset_lb_policy"),
    _LB + "subset.v3.Subset.LbSubsetSelector": Fields(_SELECTOR),
    _LB + "peak_ewma.v3alpha.PeakEwma": Fields(
        "decay_time aggregation_interval max_samples_per_host default_rtt penalty_value"
    ),
    _LB + "cluster_provided.v3.ClusterProvided": Fields(),
}
