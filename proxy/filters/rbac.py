"""`envoy.filters.http.rbac`: may this request pass? By rules that count, and rules only tried.

What the rules said is left in the dynamic metadata of `envoy.filters.http.rbac`, for the log.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.config.filters.decode_rbac import TYPE_URL, RbacConfig
from proxy.config.model.rbac import AnyRules
from proxy.denials import EXPLAINED, MAX_PATH_BYTES, POINTS_OUT, Denial
from proxy.filters.api import Filter, FilterContext, FilterStream, Hooks, Reply, Step
from proxy.filters.rbac_engine import engine
from proxy.filters.rbac_words import denial_body, denial_detail, point_out, source_of
from proxy.stats import Counter

NAMESPACE = "envoy.filters.http.rbac"
COMMON = "envoy.common"
Enforce = Callable[[FilterStream], Reply | None]

__all__ = ["TYPE_URL", "build"]


def build(config: RbacConfig, context: FilterContext) -> Filter:
    return Rbac(config, context)


class Rbac:
    """A route's configuration replaces the filter's; one without rules turns it off there."""

    def __init__(self, config: RbacConfig, context: FilterContext) -> None:
        self._config = config
        self._context = context

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        config = overrides[0] if overrides else self._config
        assert isinstance(config, RbacConfig)
        shadow = self._shadow(config.shadow_rules, config) if config.shadow_rules else None
        enforce = self._enforce(config.rules, config) if config.rules else None
        step = _both(shadow, enforce)
        return None if step is None else Hooks(on_request=step)

    def _counter(self, prefix: str, name: str) -> Counter:
        """prefix: the configuration's own, which is a name of its own (Envoy's statPrefixJoin)."""
        between = f"{prefix}." if prefix else ""
        return self._context.stats.counter(f"{self._context.stat_prefix}rbac.{between}{name}")

    def _rule_counters(
        self, rules: AnyRules, prefix: str, names: tuple[str, str], tracks: bool
    ) -> dict[str, tuple[Counter, Counter]]:
        """Of each policy: allowed and denied."""
        if not tracks:
            return {}
        yes, no = names
        return {
            name: (
                self._counter(prefix, f"policy.{name}.{yes}"),
                self._counter(prefix, f"policy.{name}.{no}"),
            )
            for name in rules.names
        }

    def _enforce(self, rules: AnyRules, config: RbacConfig) -> Enforce:
        made = engine(rules)
        prefix = config.stat_prefix
        counters = (self._counter(prefix, "allowed"), self._counter(prefix, "denied"))
        each = self._rule_counters(rules, prefix, ("allowed", "denied"), config.tracks_rules)
        policy_key = f"{prefix}enforced_effective_policy_id"
        result_key = f"{prefix}enforced_engine_result"
        hints = made.hints

        def enforce(stream: FilterStream) -> Reply | None:
            policy, allowed = made.judge(stream)
            counters[not allowed].value += 1
            if hints:
                stream.metadata.setdefault(COMMON, {})["access_log_hint"] = made.points_out(policy)
            _tell(stream, policy_key, policy, result_key, allowed)
            if policy is not None and policy in each:
                each[policy][not allowed].value += 1
            return None if allowed else self._denied(stream, rules, policy or "")

        return enforce

    def _shadow(self, rules: AnyRules, config: RbacConfig) -> Callable[[FilterStream], None]:
        made = engine(rules)
        prefix = config.shadow_stat_prefix
        counters = (self._counter(prefix, "shadow_allowed"), self._counter(prefix, "shadow_denied"))
        names = ("shadow_allowed", "shadow_denied")
        each = self._rule_counters(rules, prefix, names, config.tracks_rules)
        policy_key = f"{prefix}shadow_effective_policy_id"
        result_key = f"{prefix}shadow_engine_result"
        notes = prefix != POINTS_OUT

        def shadow(stream: FilterStream) -> None:
            policy, allowed = made.judge(stream)
            counters[not allowed].value += 1
            _tell(stream, policy_key, policy, result_key, allowed)
            if policy is not None and policy in each:
                each[policy][not allowed].value += 1
            if allowed:
                return
            if notes:
                self._note(stream, rules, policy or "", True)
            else:
                point_out(stream.metadata, rules, policy or "")

        return shadow

    def _denied(self, stream: FilterStream, rules: AnyRules, policy: str) -> Reply:
        """The client hears which policy it was only where the configuration allows it."""
        self._note(stream, rules, policy, False)
        source = source_of(rules, policy)
        if source:
            stream.metadata[EXPLAINED] = {"policy": policy, "source": source}
        return Reply(403, denial_body(rules, policy), "", denial_detail(policy))

    def _note(self, stream: FilterStream, rules: AnyRules, policy: str, shadow: bool) -> None:
        request = stream.request
        self._context.denials.note(
            Denial(
                self._context.unix_now(),
                shadow,
                self._context.stat_prefix,
                rules.action,
                policy,
                source_of(rules, policy),
                stream.info,
                request.method,
                request.authority,
                request.path[:MAX_PATH_BYTES],
            )
        )


def _tell(
    stream: FilterStream, policy_key: str, policy: str | None, result_key: str, allowed: bool
) -> None:
    told = stream.metadata.setdefault(NAMESPACE, {})
    if policy:
        told[policy_key] = policy
    told[result_key] = "allowed" if allowed else "denied"


def _both(shadow: Callable[[FilterStream], None] | None, enforce: Enforce | None) -> Step | None:
    if shadow is None:
        return enforce

    def step(stream: FilterStream) -> Reply | None:
        shadow(stream)
        return None if enforce is None else enforce(stream)

    return step
