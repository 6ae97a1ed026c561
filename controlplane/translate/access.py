"""AuthorizationPolicies -> access policies, and what is to be said about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.kinds.authorization_policy import AuthorizationPolicy
from controlplane.mesh.model import InboundPort
from controlplane.mesh.policy import AccessPolicy, Authorizer, Clause, Rule
from controlplane.translate.clauses import ClauseMaker
from controlplane.translate.doubts import tell_doubts
from controlplane.translate.report import Report
from controlplane.translate.scopes import Population, scope_of, tell_unused
from controlplane.translate.trust_domains import TrustDomains

_HTTP = ("HTTP", "HTTP2", "GRPC")


def policy(
    population: Population,
    report: Report,
    item: AuthorizationPolicy,
    trust_domains: TrustDomains,
    authorizers: tuple[Authorizer, ...],
) -> AccessPolicy:
    known = {authorizer.name: authorizer for authorizer in authorizers}
    made = _policy(item, trust_domains, report)
    tell_unused(item, item.spec, made.scope, population, report)
    tell_doubts(item, report)
    _tell_provider(item, known, report)
    _tell_tcp(item, made, population, report)
    _tell_unasked(item, made, known, population, report)
    return made


def _policy(item: AuthorizationPolicy, trust_domains: TrustDomains, report: Report) -> AccessPolicy:
    spec = item.spec
    maker = ClauseMaker(item.namespace, trust_domains)
    return AccessPolicy(
        namespace=item.namespace,
        name=item.name,
        action=spec.action,
        rules=tuple(maker.rule(index, rule) for index, rule in enumerate(spec.rules)),
        scope=scope_of(item, spec, report),
        provider=spec.provider.name if spec.provider is not None else "",
        dry_run=item.dry_run,
        position=item.position,
    )


# --------------------------------------------------------------------------- what is said


def _tell_provider(item: AuthorizationPolicy, known: dict[str, Authorizer], report: Report) -> None:
    if item.spec.provider is None:
        return
    position, name = item.spec.at("provider"), item.spec.provider.name
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        message = (
            f"spec.provider: the MeshConfig has no extensionProvider {name!r} (it has {names}); "
            "what the rules take is refused"
        )
        report.error(item, position, "UnknownProvider", message)
    elif fault := known[name].fault:
        message = f"spec.provider: {fault}; what the rules take is refused"
        report.error(item, position, "UnknownProvider", message)


def _tell_tcp(
    item: AuthorizationPolicy, policy: AccessPolicy, population: Population, report: Report
) -> None:
    """A TCP port knows nothing of HTTP: DENY denies more than was meant, ALLOW allows less."""
    if policy.action not in ("ALLOW", "DENY"):
        return
    asking = [rule for rule in policy.rules if _asks_http_of_any_port(rule)]
    ports = _tcp_ports(population, policy) if asking else ()
    listed = ", ".join(map(str, sorted({port.listen_port for port in ports})))
    for rule in asking if ports else ():
        where = f"spec.rules[{rule.index}]"
        effect = "takes everything there" if policy.action == "DENY" else "takes nothing there"
        message = (
            f"{where} asks about HTTP, and {effect} on the TCP ports {listed} of its "
            "workloads; say which `ports` are meant"
        )
        report.warning(item, rule.position, "HttpOnly", message)


def _tell_unasked(
    item: AuthorizationPolicy,
    policy: AccessPolicy,
    known: dict[str, Authorizer],
    population: Population,
    report: Report,
) -> None:
    """A connection can't be asked about over HTTP: Istio, too, lets it pass CUSTOM."""
    authorizer = known.get(policy.provider)
    if authorizer is None or authorizer.fault or authorizer.protocol != "http":
        return
    there = _tcp_ports(population, policy)
    ports = sorted({port.listen_port for port in there if _may_take(policy, port)})
    if not ports:
        return
    message = (
        f"spec.provider: {authorizer.name!r} is asked over HTTP, so nobody is asked on the TCP "
        f"ports {', '.join(map(str, ports))} of its workloads, and CUSTOM refuses nothing there; "
        "ask by envoyExtAuthzGrpc, or close these ports with a DENY policy"
    )
    report.warning(item, item.spec.at("provider"), "HttpOnly", message)


def _may_take(policy: AccessPolicy, port: InboundPort) -> bool:
    """False where every rule speaks of other ports only."""
    numbers = {port.listen_port, *port.numbers}
    return any(
        not named or bool(numbers & named) for rule in policy.rules for named in _named_ports(rule)
    )


def _named_ports(rule: Rule) -> Iterator[frozenset[int]]:
    """The ports that each alternative of a rule names; none: all of them."""
    always = _port_values(rule.conditions)
    for operation in rule.operations or ((),):
        yield _port_values(operation) or always


def _port_values(clauses: Iterable[Clause]) -> frozenset[int]:
    asking = (clause for clause in clauses if clause.attribute == "destination_port")
    values = (value for clause in asking for value in clause.values)
    return frozenset(int(fact.match.value) for value in values for fact in value.facts)


def _tcp_ports(population: Population, policy: AccessPolicy) -> tuple[InboundPort, ...]:
    return tuple(one for one in population.ports(policy.scope) if one.protocol not in _HTTP)


def _asks_http_of_any_port(rule: Rule) -> bool:
    clauses = [c for group in (*rule.sources, *rule.operations, rule.conditions) for c in group]
    names_ports = any(clause.attribute == "destination_port" for clause in clauses)
    return not names_ports and any(clause.http_only for clause in clauses)
