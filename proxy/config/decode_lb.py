"""Decodes how a cluster balances its load: the old fields, and `load_balancing_policy`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2

from proxy.config.any_types import message_type
from proxy.config.decode_common import (
    choice,
    enum_name,
    seconds_or,
    struct,
    type_name,
    unpack,
    unsupported_type,
    value_or,
)
from proxy.config.fields import UNSUPPORTED
from proxy.config.model.balancing import (
    NO_LOCALITY,
    HostLb,
    Lb,
    LeastRequestLb,
    LocalityLb,
    MaglevLb,
    PeakEwmaLb,
    ProvidedLb,
    RandomLb,
    RingHashLb,
    RoundRobinLb,
    SubsetLb,
    SubsetSelector,
)
from proxy.config.model.health import SlowStart
from proxy.config.rejected import Rejected, at

_C = cluster_pb2.Cluster
_MAX_TABLE_SIZE = 5_000_011
_MAX_RING_SIZE = 8 * 1024 * 1024
_LB_CONFIGS: Mapping[str, int] = {
    "least_request_lb_config": _C.LEAST_REQUEST,
    "round_robin_lb_config": _C.ROUND_ROBIN,
    "ring_hash_lb_config": _C.RING_HASH,
    "maglev_lb_config": _C.MAGLEV,
}


def load_balancing(message: cluster_pb2.Cluster, path: str) -> Lb:
    """A typed policy wins over `lb_policy` and all that belongs to it."""
    if message.HasField("load_balancing_policy"):
        return _typed(message.load_balancing_policy, at(path, "load_balancing_policy"))
    number = message.lb_policy
    if number == _C.LOAD_BALANCING_POLICY_CONFIG:
        raise Rejected(at(path, "load_balancing_policy"), "is required with this lb_policy")
    decode = _OLD.get(number)
    if decode is None:
        name = enum_name(_C.LbPolicy, number)
        raise Rejected(at(path, "lb_policy"), f"{name} is {UNSUPPORTED}")
    given = message.WhichOneof("lb_config")
    if given in _LB_CONFIGS and _LB_CONFIGS[given] != number:
        name = enum_name(_C.LbPolicy, number)
        raise Rejected(at(path, given), f"does not belong to lb_policy {name}")
    made = decode(message, path)
    subset = message.lb_subset_config
    if not subset.subset_selectors or isinstance(made, ProvidedLb | SubsetLb):
        return made
    return _subset(subset, made, False, at(path, "lb_subset_config"))


# --------------------------------------------------------------------------- the old fields


def _old_round_robin(message: cluster_pb2.Cluster, path: str) -> Lb:
    config = message.round_robin_lb_config
    slow = _slow_start(config, at(path, "round_robin_lb_config"))
    return RoundRobinLb(slow, _old_locality(message))


def _old_least_request(message: cluster_pb2.Cluster, path: str) -> Lb:
    config = message.least_request_lb_config
    return LeastRequestLb(
        choice_count=value_or(config, "choice_count", 2),
        active_request_bias=_bias(config, at(path, "least_request_lb_config")),
        slow_start=_slow_start(config, at(path, "least_request_lb_config")),
        locality=_old_locality(message),
    )


def _old_ring_hash(message: cluster_pb2.Cluster, path: str) -> Lb:
    config = message.ring_hash_lb_config
    common = message.common_lb_config.consistent_hashing_lb_config
    return _ring_sizes(
        RingHashLb(
            "MURMUR_HASH_2" if config.hash_function == config.MURMUR_HASH_2 else "XX_HASH",
            value_or(config, "minimum_ring_size", 1024),
            value_or(config, "maximum_ring_size", _MAX_RING_SIZE),
            common.use_hostname_for_hashing,
            value_or(common, "hash_balance_factor", 0),
            _old_locality(message),
        ),
        at(path, "ring_hash_lb_config"),
    )


def _old_maglev(message: cluster_pb2.Cluster, path: str) -> Lb:
    common = message.common_lb_config.consistent_hashing_lb_config
    return MaglevLb(
        _table_size(message.maglev_lb_config, at(path, "maglev_lb_config")),
        common.use_hostname_for_hashing,
        value_or(common, "hash_balance_factor", 0),
        _old_locality(message),
    )


def _old_locality(message: cluster_pb2.Cluster) -> LocalityLb:
    return _locality(message.common_lb_config)


_OLD: Mapping[int, Callable[[cluster_pb2.Cluster, str], Lb]] = {
    _C.ROUND_ROBIN: _old_round_robin,
    _C.LEAST_REQUEST: _old_least_request,
    _C.RANDOM: lambda message, path: RandomLb(_old_locality(message)),
    _C.RING_HASH: _old_ring_hash,
    _C.MAGLEV: _old_maglev,
    _C.CLUSTER_PROVIDED: lambda message, path: ProvidedLb(),
}


# --------------------------------------------------------------------------- typed policies


def _typed(message: cluster_pb2.LoadBalancingPolicy, path: str) -> Lb:
    """Envoy takes the first policy of the list that it knows."""
    where = f"{path}.policies"
    for i, each in enumerate(message.policies):
        packed = each.typed_extension_config.typed_config
        name = type_name(packed)
        decode = _EXTENSIONS.get(name)
        if decode is not None:
            inner = f"{where}[{i}].typed_extension_config.typed_config"
            return decode(unpack(message_type(name), packed, inner), inner)
    if not message.policies:
        raise Rejected(where, "needs at least one policy")
    first = message.policies[0].typed_extension_config.typed_config
    raise unsupported_type(first, f"{where}[0].typed_extension_config.typed_config", _EXTENSIONS)


def _round_robin(message: Any, path: str) -> Lb:
    return RoundRobinLb(_slow_start(message, path), _locality(message.locality_lb_config))


def _least_request(message: Any, path: str) -> Lb:
    return LeastRequestLb(
        value_or(message, "choice_count", 2),
        _bias(message, path),
        message.selection_method == message.FULL_SCAN
        or value_or(message, "enable_full_scan", False),
        _slow_start(message, path),
        _locality(message.locality_lb_config),
    )


def _peak_ewma(message: Any, path: str) -> Lb:
    """Envoy's contrib policy; what is not set is as there."""
    return PeakEwmaLb(
        decay_s=seconds_or(message, "decay_time", 10.0),
        aggregation_interval_s=seconds_or(message, "aggregation_interval", 0.1),
        max_samples=value_or(message, "max_samples_per_host", 1000),
        default_rtt_s=seconds_or(message, "default_rtt", 0.01),
        penalty=value_or(message, "penalty_value", 1_000_000.0),
    )


def _ring_hash(message: Any, path: str) -> Lb:
    common = message.consistent_hashing_lb_config
    return _ring_sizes(
        RingHashLb(
            "MURMUR_HASH_2" if message.hash_function == message.MURMUR_HASH_2 else "XX_HASH",
            value_or(message, "minimum_ring_size", 1024),
            value_or(message, "maximum_ring_size", _MAX_RING_SIZE),
            common.use_hostname_for_hashing or message.use_hostname_for_hashing,
            value_or(common, "hash_balance_factor", value_or(message, "hash_balance_factor", 0)),
            _locality(message),
        ),
        path,
    )


def _maglev(message: Any, path: str) -> Lb:
    common = message.consistent_hashing_lb_config
    return MaglevLb(
        _table_size(message, path),
        common.use_hostname_for_hashing,
        value_or(common, "hash_balance_factor", 0),
        _locality(message),
    )


def _typed_subset(message: Any, path: str) -> Lb:
    where = at(path, "subset_lb_policy")
    child = _typed(message.subset_lb_policy, where)
    if isinstance(child, SubsetLb | ProvidedLb):
        raise Rejected(where, "a subset can't be balanced by this policy")
    return _subset(message, child, message.allow_redundant_keys, path)


def _random(message: Any, path: str) -> Lb:
    return RandomLb(_locality(message.locality_lb_config))


_EXTENSIONS: Mapping[str, Callable[[Any, str], Lb]] = {
    f"envoy.extensions.load_balancing_policies.{name}": decode
    for name, decode in (
        ("round_robin.v3.RoundRobin", _round_robin),
        ("least_request.v3.LeastRequest", _least_request),
        ("random.v3.Random", _random),
        ("peak_ewma.v3alpha.PeakEwma", _peak_ewma),
        ("ring_hash.v3.RingHash", _ring_hash),
        ("maglev.v3.Maglev", _maglev),
        ("subset.v3.Subset", _typed_subset),
        ("cluster_provided.v3.ClusterProvided", lambda message, path: ProvidedLb()),
    )
}


# --------------------------------------------------------------------------- common to both


def _slow_start(message: Any, path: str) -> SlowStart | None:
    """`aggression` and `active_request_bias` must be above 0: Envoy's runtime keys are not read."""
    if not message.HasField("slow_start_config"):
        return None
    config = message.slow_start_config
    window_s = seconds_or(config, "slow_start_window", 0.0)
    if not window_s:
        return None
    aggression = config.aggression.default_value if config.HasField("aggression") else 1.0
    if aggression <= 0:
        where = at(path, "slow_start_config.aggression.default_value")
        raise Rejected(where, "must be greater than 0")
    least = 10.0
    if config.HasField("min_weight_percent"):
        least = config.min_weight_percent.value
    return SlowStart(window_s, aggression, least)


def _bias(message: Any, path: str) -> float:
    if not message.HasField("active_request_bias"):
        return 1.0
    bias: float = message.active_request_bias.default_value
    if bias < 0:
        where = at(path, "active_request_bias.default_value")
        raise Rejected(where, "must be at least 0")
    return bias


def _locality(message: Any) -> LocalityLb:
    """Of a message with `locality_weighted_lb_config` and perhaps `zone_aware_lb_config`."""
    if message.HasField("locality_weighted_lb_config"):
        return LocalityLb(weighted=True)
    names = message.DESCRIPTOR.fields_by_name
    if "zone_aware_lb_config" not in names or not message.HasField("zone_aware_lb_config"):
        return NO_LOCALITY
    zone = message.zone_aware_lb_config
    by_weight = False
    force = False
    if "locality_basis" in zone.DESCRIPTOR.fields_by_name:  # not of the old message
        force = zone.force_locality_direct_routing
        by_weight = zone.locality_basis == zone.HEALTHY_HOSTS_WEIGHT
    return LocalityLb(
        routing_enabled=zone.routing_enabled.value if zone.HasField("routing_enabled") else 100.0,
        min_cluster_size=value_or(zone, "min_cluster_size", 6),
        fail_traffic_on_panic=zone.fail_traffic_on_panic,
        force_direct=force,
        by_weight=by_weight,
    )


def _ring_sizes(found: RingHashLb, path: str) -> RingHashLb:
    if found.minimum_ring_size > found.maximum_ring_size:
        raise Rejected(
            at(path, "minimum_ring_size"),
            f"{found.minimum_ring_size} is above maximum_ring_size ({found.maximum_ring_size})",
        )
    return found


def _table_size(message: Any, path: str) -> int:
    size: int = value_or(message, "table_size", 65537)
    if size > _MAX_TABLE_SIZE or not _is_prime(size):
        raise Rejected(at(path, "table_size"), f"{size} is no prime number up to {_MAX_TABLE_SIZE}")
    return size


def _is_prime(number: int) -> bool:
    if number < 2:
        return False
    return all(number % factor for factor in range(2, int(number**0.5) + 1))


_FALLBACKS: Mapping[int, Any] = {0: "NO_FALLBACK", 1: "ANY_ENDPOINT", 2: "DEFAULT_SUBSET"}
_SELECTOR_FALLBACKS: Mapping[int, Any] = {
    0: "NOT_DEFINED",
    1: "NO_FALLBACK",
    2: "ANY_ENDPOINT",
    3: "DEFAULT_SUBSET",
    4: "KEYS_SUBSET",
}


def _subset(message: Any, child: HostLb, allow_redundant_keys: bool, path: str) -> SubsetLb:
    return SubsetLb(
        child=child,
        selectors=tuple(
            _selector(each, f"{path}.subset_selectors[{i}]")
            for i, each in enumerate(message.subset_selectors)
        ),
        fallback=choice(_FALLBACKS, message.fallback_policy, at(path, "fallback_policy")),
        default_subset=struct(message.default_subset),
        locality_weight_aware=message.locality_weight_aware,
        scale_locality_weight=message.scale_locality_weight,
        panic_mode_any=message.panic_mode_any,
        list_as_any=message.list_as_any,
        allow_redundant_keys=allow_redundant_keys,
        fallback_list=bool(message.metadata_fallback_policy),
    )


def _selector(message: Any, path: str) -> SubsetSelector:
    keys, fewer = tuple(sorted(set(message.keys))), tuple(sorted(set(message.fallback_keys_subset)))
    where = at(path, "fallback_policy")
    fallback = choice(_SELECTOR_FALLBACKS, message.fallback_policy, where)
    if (fallback == "KEYS_SUBSET") != bool(fewer):
        why = "fallback_keys_subset must be set with, and only with, the policy KEYS_SUBSET"
        raise Rejected(where, why)
    if fewer and not set(fewer) < set(keys):
        where = at(path, "fallback_keys_subset")
        raise Rejected(where, "must be some of the selector's keys, but not all of them")
    return SubsetSelector(keys, fallback, fewer, message.single_host_per_subset)
