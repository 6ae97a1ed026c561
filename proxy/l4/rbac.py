"""`envoy.filters.network.rbac`: may this connection pass? By rules that count, and rules tried."""

from __future__ import annotations

from collections.abc import Callable

from proxy.config.model.rbac import AnyRules, NetworkRbac
from proxy.denials import EXPLAINED, POINTS_OUT, Denial, Denials
from proxy.filters.rbac_engine import AnyEngine, engine
from proxy.filters.rbac_words import denial_detail, point_out, source_of
from proxy.l4.guard import Cancel, Told, TurnedAway, Visitor
from proxy.stats import Counter, Stats

NAMESPACE = "envoy.filters.network.rbac"
COMMON = "envoy.common"


class RbacGuard:
    """Envoy's `<stat_prefix>rbac.*`."""

    def __init__(
        self, config: NetworkRbac, stats: Stats, denials: Denials, unix_now: Callable[[], float]
    ) -> None:
        self._config = config
        self._denials = denials
        self._unix_now = unix_now
        self._prefix = _joined(config.stat_prefix)
        between = _joined(config.shadow_stat_prefix)
        self._rules = config.rules
        self._shadow_rules = config.shadow_rules
        self._engine = engine(config.rules) if config.rules else None
        self._shadow = engine(config.shadow_rules) if config.shadow_rules else None
        self._counts = _pair(stats, f"{self._prefix}rbac.", "allowed", "denied")
        self._shadow_counts = _pair(
            stats, f"{self._prefix}rbac.{between}", "shadow_allowed", "shadow_denied"
        )

    def judge(self, visitor: Visitor, told: Told) -> Cancel | None:
        if self._shadow is not None and self._shadow_rules is not None:
            self._try(self._shadow, self._shadow_rules, visitor)
        why = None
        if self._engine is not None and self._rules is not None:
            why = self._enforce(self._engine, self._rules, visitor)
        told(why)
        return None

    def _enforce(self, made: AnyEngine, rules: AnyRules, visitor: Visitor) -> TurnedAway | None:
        policy, allowed = made.judge(visitor)
        self._counts[not allowed].value += 1
        if made.hints:
            visitor.metadata.setdefault(COMMON, {})["access_log_hint"] = made.points_out(policy)
        if allowed:
            return None
        self._note(rules, policy or "", visitor, False)
        return TurnedAway(
            termination=denial_detail(policy or ""), delay_s=self._config.delay_deny_s
        )

    def _try(self, made: AnyEngine, rules: AnyRules, visitor: Visitor) -> None:
        policy, allowed = made.judge(visitor)
        self._shadow_counts[not allowed].value += 1
        told = visitor.metadata.setdefault(NAMESPACE, {})
        prefix = self._config.shadow_stat_prefix
        if policy:
            told[f"{prefix}shadow_effective_policy_id"] = policy
        told[f"{prefix}shadow_engine_result"] = "allowed" if allowed else "denied"
        if allowed:
            return
        if prefix != POINTS_OUT:
            self._note(rules, policy or "", visitor, True)
        else:
            point_out(visitor.metadata, rules, policy or "")

    def _note(self, rules: AnyRules, policy: str, visitor: Visitor, shadow: bool) -> None:
        source = source_of(rules, policy)
        if source and not shadow:
            visitor.metadata[EXPLAINED] = {"policy": policy, "source": source}
        self._denials.note(
            Denial(
                self._unix_now(), shadow, self._prefix, rules.action, policy, source, visitor.info
            )
        )


def _joined(prefix: str) -> str:
    """A prefix is a name of its own; a dot at its end is not doubled (Envoy's statPrefixJoin)."""
    return prefix if not prefix or prefix.endswith(".") else f"{prefix}."


def _pair(stats: Stats, prefix: str, first: str, second: str) -> tuple[Counter, Counter]:
    return stats.counter(prefix + first), stats.counter(prefix + second)
