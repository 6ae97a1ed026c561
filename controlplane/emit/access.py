"""The filters of a listener that decide who may come in, in Istio's order.

Tokens are read first (jwt_authn), then CUSTOM, DENY and ALLOW decide; AUDIT only marks. What runs
dry stands in the shadow rules: it decides nothing, and what it would is counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac

from controlplane.emit import ext_authz, jwt
from controlplane.emit.explanations import explain
from controlplane.emit.rbac import Place, rules
from controlplane.emit.words import packed
from controlplane.mesh.policy import AccessPolicy, Action, Authorizer, Security, TokenRule
from controlplane.mesh.tls_limits import NO_LIMITS, TlsLimits
from protos.frozen import frozen

HTTP_RBAC = "envoy.filters.http.rbac"
HTTP_EXT_AUTHZ = "envoy.filters.http.ext_authz"
NETWORK_RBAC = "envoy.filters.network.rbac"
NETWORK_EXT_AUTHZ = "envoy.filters.network.ext_authz"
TCP_STAT_PREFIX = "tcp."
_SHADOW_PREFIXES: Mapping[Action, str] = {
    "ALLOW": "istio_dry_run_allow_",
    "DENY": "istio_dry_run_deny_",
}
_BAD_PROVIDER = "-deny-due-to-bad-CUSTOM-action"


@frozen
class Guards:
    """What holds for one workload: `of` finds it out once for all of its listeners."""

    access: tuple[AccessPolicy, ...] = ()
    tokens: tuple[TokenRule, ...] = ()
    authorizers: tuple[Authorizer, ...] = ()
    in_body: bool = False
    mutual_tls: TlsLimits = NO_LIMITS

    @classmethod
    def of(cls, security: Security, namespace: str, labels: Mapping[str, str]) -> Guards:
        return cls(
            access=security.access_of.of(namespace, labels),
            tokens=tuple(
                rule for policy in security.tokens_of.of(namespace, labels) for rule in policy.rules
            ),
            authorizers=security.authorizers,
            in_body=security.denial_details,
            mutual_tls=security.mutual_tls,
        )

    @property
    def looks_at_sni(self) -> bool:
        return any(
            clause.attribute == "sni"
            for policy in self.access
            for rule in policy.rules
            for clause in rule.conditions
        )

    def policies(self, action: Action) -> tuple[AccessPolicy, ...]:
        return tuple(policy for policy in self.access if policy.action == action)


def http_filters(
    guards: Guards, port: int, numbers: tuple[int, ...] = (), *, reroute: bool = False
) -> list[hcm_pb2.HttpFilter]:
    """numbers: under which policies may know `port`. reroute: routes may ask for claims."""
    place = Place(http=True, port=port, numbers=numbers)
    filters: list[hcm_pb2.HttpFilter] = []
    if guards.tokens:
        config = packed(jwt.authentication(guards.tokens, reroute))
        filters.append(hcm_pb2.HttpFilter(name=jwt.NAME, typed_config=config))
    for step in _steps(guards, place):
        name, config = HTTP_RBAC, packed(step.http())
        filters.append(hcm_pb2.HttpFilter(name=name, typed_config=config))
        if step.asks is not None:
            config = packed(ext_authz.http(step.asks, HTTP_RBAC))
            filters.append(hcm_pb2.HttpFilter(name=HTTP_EXT_AUTHZ, typed_config=config))
    return filters


def network_filters(guards: Guards, port: int, numbers: tuple[int, ...] = ()) -> list[Filter]:
    """For a port whose bytes are not looked into. A service asked over HTTP can't be asked here."""
    filters: list[Filter] = []
    for step in _steps(guards, Place(http=False, port=port, numbers=numbers)):
        if step.asks is not None and step.asks.protocol != "grpc":
            continue
        filters.append(Filter(name=NETWORK_RBAC, typed_config=packed(step.network())))
        if step.asks is not None:
            asking = ext_authz.network(step.asks, NETWORK_RBAC, TCP_STAT_PREFIX)
            filters.append(Filter(name=NETWORK_EXT_AUTHZ, typed_config=packed(asking)))
    return filters


# --------------------------------------------------------------------------- steps


@frozen
class _Step:
    """One RBAC filter, and whom to ask by what it finds in the shadow."""

    enforced: RBAC | None
    shadow: RBAC | None = None
    shadow_prefix: str = ""
    asks: Authorizer | None = None

    def http(self) -> HttpRbac:
        return HttpRbac(
            rules=self.enforced,
            shadow_rules=self.shadow,
            shadow_rules_stat_prefix=self.shadow_prefix,
        )

    def network(self) -> NetworkRbac:
        return NetworkRbac(
            rules=self.enforced,
            shadow_rules=self.shadow,
            shadow_rules_stat_prefix=self.shadow_prefix,
            stat_prefix=TCP_STAT_PREFIX,
        )


def _steps(guards: Guards, place: Place) -> Iterator[_Step]:
    yield from _custom(guards, place)
    for action in ("AUDIT", "DENY", "ALLOW"):
        policies = guards.policies(action)
        enforced = _rules([p for p in policies if not p.dry_run], place, guards.in_body)
        shadow = _rules([p for p in policies if p.dry_run], place, guards.in_body)
        if policies:
            # Istio names the prefix of ALLOW where nothing is in the shadow.
            prefix = _SHADOW_PREFIXES[action if shadow is not None else "ALLOW"]
            yield _Step(enforced, shadow, prefix)


def _rules(
    policies: Sequence[AccessPolicy],
    place: Place,
    in_body: bool,
    prefix: str = "",
    suffix: str = "",
) -> RBAC | None:
    """prefix, suffix: around the names of the rules."""
    made = rules(policies, place, prefix)
    if made is None:
        return None
    if suffix:
        made = _refusing(made, suffix)
    explain(made, policies, in_body, lambda rule: prefix + rule + suffix)
    return made


def _custom(guards: Guards, place: Place) -> Iterator[_Step]:
    """By provider. Several for one workload can't be told apart, so all is refused (Istio)."""
    asked: dict[str, list[AccessPolicy]] = defaultdict(list)
    for policy in guards.policies("CUSTOM"):
        asked[policy.provider].append(policy)
    known = {one.name: one for one in guards.authorizers if not one.fault}
    for provider in sorted(asked):
        prefix = ext_authz.rule_prefix(provider)
        askable = provider in known and len(asked) == 1
        suffix = "" if askable else _BAD_PROVIDER
        made = _rules(asked[provider], place, guards.in_body, prefix, suffix)
        if askable:
            yield _Step(None, made, ext_authz.SHADOW_PREFIX, known[provider])
        else:
            yield _Step(made)


def _refusing(made: RBAC, suffix: str) -> RBAC:
    """Nobody can be asked: what the rules take is refused."""
    result = RBAC(action=RBAC.DENY)
    for name, policy in made.policies.items():
        result.policies[name + suffix].CopyFrom(policy)
    return result


def jwks_places(rules: Iterable[TokenRule]) -> Iterator[TokenRule]:
    """Those whose keys are fetched from outside of the mesh, each place once."""
    seen: set[str] = set()
    for rule in rules:
        if rule.jwks_uri and rule.jwks_service is None:
            name = jwt.cluster_name(rule)
            if name not in seen:
                seen.add(name)
                yield rule
