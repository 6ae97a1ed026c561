"""One rule of an AuthorizationPolicy -> clauses: what each word of it asks, in Istio's meaning.

A '*' alone wants any value, in front an end, behind a beginning; elsewhere it is a character.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from controlplane.kinds import authorization_policy as kinds
from controlplane.kinds.attributes import (
    ANY,
    ONE,
    claim_path,
    filter_path,
    header_name,
    inline_header_name,
)
from controlplane.kinds.schema import Record
from controlplane.mesh.policy import Attribute, Clause, Fact, Match, Rule, Value
from controlplane.mesh.re2 import quoted
from controlplane.translate.trust_domains import TrustDomains

_SPIFFE = "spiffe://"
_SOMETHING = Match("present")
Meaning = Callable[[str], Iterable[tuple[str, Match]]]
"""A value as written -> what it means, with the words to show for it."""


class ClauseMaker:
    """Of the policies of one namespace, which names service accounts without one."""

    def __init__(self, namespace: str, trust_domains: TrustDomains) -> None:
        self._namespace = namespace
        self._trust_domains = trust_domains

    def rule(self, index: int, rule: kinds.Rule) -> Rule:
        return Rule(
            index=index,
            sources=tuple(tuple(self._source(item.source)) for item in rule.from_),
            operations=tuple(tuple(_operation(item.operation)) for item in rule.to),
            conditions=tuple(self._condition(item) for item in rule.when),
            position=rule.position,
        )

    # ------------------------------------------------------------------ from

    def _source(self, source: kinds.Source) -> Iterator[Clause]:
        """In Istio's order."""
        yield from _clause(
            source, "identity", "principals", source.principals, source.not_principals, self._who
        )
        principals, not_principals = source.request_principals, source.not_request_principals
        yield from _request_principals(source, "requestPrincipals", principals, not_principals)
        accounts, not_accounts = source.service_accounts, source.not_service_accounts
        yield from _clause(
            source, "identity", "serviceAccounts", accounts, not_accounts, self._account
        )
        spaces, not_spaces = source.namespaces, source.not_namespaces
        yield from _clause(source, "identity", "namespaces", spaces, not_spaces, _each(_namespace))
        domains, not_domains = source.trust_domains, source.not_trust_domains
        yield from _clause(
            source, "identity", "trustDomains", domains, not_domains, self._trust_domain
        )
        remote, not_remote = source.remote_ip_blocks, source.not_remote_ip_blocks
        yield from _clause(source, "remote_ip", "remoteIpBlocks", remote, not_remote, _each(_cidr))
        blocks, not_blocks = source.ip_blocks, source.not_ip_blocks
        yield from _clause(source, "source_ip", "ipBlocks", blocks, not_blocks, _each(_cidr))

    def _who(self, value: str) -> Iterator[tuple[str, Match]]:
        for written, meant in self._trust_domains.principals((value,)):
            yield written, _principal(meant)

    def _trust_domain(self, value: str) -> Iterator[tuple[str, Match]]:
        for written, meant in self._trust_domains.domains((value,)):
            yield written, _domain(meant)

    def _account(self, value: str) -> Iterator[tuple[str, Match]]:
        namespace, _, account = value.rpartition("/")
        namespace = quoted(namespace or self._namespace)
        regex = f"{_SPIFFE}.+/ns/{namespace}/(.+/|)sa/{quoted(account)}(/.+)?"
        yield value, Match("regex", regex)

    # ------------------------------------------------------------------ when

    def _condition(self, item: kinds.Condition) -> Clause:
        return next(self._conditions(item))

    def _conditions(self, item: kinds.Condition) -> Iterator[Clause]:
        key = item.key
        if key == "request.auth.principal":
            return _request_principals(item, key, item.values, item.not_values)
        if name := header_name(key):
            return _when(item, "header", _each(_text), (name,))
        if name := inline_header_name(key):
            return _when(item, "header", _each(_element), (name,))
        if path := claim_path(key):
            return _when(item, "claim", _each(_text), path)
        if path := filter_path(key):
            return _when(item, "metadata", _each(_item), path)
        attribute, meaning, path = self._known(key)
        return _when(item, attribute, meaning, path)

    def _known(self, key: str) -> tuple[Attribute, Meaning, tuple[str, ...]]:
        known: dict[str, tuple[Attribute, Meaning, tuple[str, ...]]] = {
            "source.ip": ("source_ip", _each(_cidr), ()),
            "remote.ip": ("remote_ip", _each(_cidr), ()),
            "destination.ip": ("destination_ip", _each(_cidr), ()),
            "destination.port": ("destination_port", _each(_port), ()),
            "connection.sni": ("sni", _each(_text), ()),
            "source.namespace": ("identity", _each(_namespace), ()),
            "source.principal": ("identity", self._who, ()),
            "source.serviceAccount": ("identity", self._account, ()),
            "request.auth.audiences": ("claim", _each(_text), ("aud",)),
            "request.auth.presenter": ("claim", _each(_text), ("azp",)),
        }
        return known[key]


def _operation(operation: kinds.Operation) -> Iterator[Clause]:
    hosts, not_hosts = operation.hosts, operation.not_hosts
    yield from _clause(operation, "host", "hosts", hosts, not_hosts, _each(_host))
    methods, not_methods = operation.methods, operation.not_methods
    yield from _clause(operation, "method", "methods", methods, not_methods, _each(_text))
    paths, not_paths = operation.paths, operation.not_paths
    yield from _clause(operation, "path", "paths", paths, not_paths, _each(_path))
    ports, not_ports = operation.ports, operation.not_ports
    yield from _clause(operation, "destination_port", "ports", ports, not_ports, _each(_port))


# --------------------------------------------------------------------------- values


def _clause(
    item: Record,
    attribute: Attribute,
    field: str,
    values: tuple[str, ...],
    not_values: tuple[str, ...],
    meaning: Meaning,
) -> Iterator[Clause]:
    """At most one."""
    if values or not_values:
        yield Clause(
            name=field,
            attribute=attribute,
            values=_values(attribute, values, meaning),
            not_values=_values(attribute, not_values, meaning),
            position=item.at(field if values else _negated(field)),
        )


def _negated(field: str) -> str:
    return f"not{field[0].upper()}{field[1:]}"


def _when(
    item: kinds.Condition, attribute: Attribute, meaning: Meaning, key: tuple[str, ...]
) -> Iterator[Clause]:
    yield Clause(
        name=item.key,
        attribute=attribute,
        values=_values(attribute, item.values, meaning, key),
        not_values=_values(attribute, item.not_values, meaning, key),
        position=item.position,
    )


def _values(
    attribute: Attribute, values: Iterable[str], meaning: Meaning, key: tuple[str, ...] = ()
) -> tuple[Value, ...]:
    meant = (pair for value in values for pair in meaning(value))
    return tuple(Value(text, (Fact(attribute, match, key),)) for text, match in meant)


def _each(match_of: Callable[[str], Match]) -> Meaning:
    return lambda value: ((value, match_of(value)),)


def _text(value: str) -> Match:
    if value == "*":
        return _SOMETHING
    if value.startswith("*"):
        return Match("suffix", value[1:])
    if value.endswith("*"):
        return Match("prefix", value[:-1])
    return Match("exact", value)


def _host(value: str) -> Match:
    found = _text(value)
    return found if found == _SOMETHING else Match(found.kind, found.value, ignore_case=True)


def _path(value: str) -> Match:
    if ONE in value or ANY in value:
        return Match("template", value.replace(ANY, "**").replace(ONE, "*"))
    return _text(value)


def _item(value: str) -> Match:
    """'[v]': a list that has v."""
    if value.startswith("[") and value.endswith("]"):
        return Match("item", inner=_text(value.strip("[]")))
    return _text(value)


def _element(value: str) -> Match:
    """One of a header's comma-separated values; '*' is that there is the header."""
    found = _text(value)
    return found if found == _SOMETHING else Match("item", inner=found)


def _cidr(value: str) -> Match:
    return Match("cidr", value)


def _port(value: str) -> Match:
    return Match("port", value)


def _principal(value: str) -> Match:
    if value == "*":
        return _SOMETHING
    if value.startswith("*"):
        return Match("regex", f"{_SPIFFE}.*{quoted(value[1:])}")
    if value.endswith("*"):
        return Match("prefix", _SPIFFE + value[:-1])
    return Match("exact", _SPIFFE + value)


def _namespace(value: str) -> Match:
    return Match("regex", f".*/ns/{quoted(value).replace(chr(92) + '*', '.*')}/.*")


def _domain(value: str) -> Match:
    if "*" not in value:
        return Match("prefix", f"{_SPIFFE}{value}/")
    return Match("regex", f"{_SPIFFE}{quoted(value).replace(chr(92) + '*', '[^/]*')}/.*")


# --------------------------------------------------------------------------- tokens


def _request_principals(
    item: Record, name: str, values: tuple[str, ...], not_values: tuple[str, ...]
) -> Iterator[Clause]:
    """ISSUER/SUBJECT, where the issuer may be a URL."""
    if values or not_values:
        yield Clause(
            name=name,
            attribute="token",
            values=tuple(Value(value, _issuer_and_subject(value)) for value in values),
            not_values=tuple(Value(value, _issuer_and_subject(value)) for value in not_values),
            position=item.at(name if values else _negated(name)),
        )


def _issuer_and_subject(value: str) -> tuple[Fact, ...]:
    """Istio's reading of each form. Without a '/' it is an issuer's with an empty subject."""
    issuer, slash, subject = value.rpartition("/") if "/" in value else (value, "", "")
    if value == "*":
        pair = _SOMETHING, _SOMETHING
    elif value.startswith("*") and slash:
        end = Match("suffix", issuer[1:]) if issuer != "*" else _SOMETHING
        pair = end, Match("exact", subject)
    elif value.startswith("*"):
        pair = _SOMETHING, Match("suffix", value[1:])
    elif value.endswith("*") and slash:
        begin = Match("prefix", subject[:-1]) if subject != "*" else _SOMETHING
        pair = Match("exact", issuer), begin
    elif value.endswith("*"):
        pair = Match("prefix", value[:-1]), _SOMETHING
    else:
        pair = Match("exact", issuer), Match("exact", subject)
    return tuple(
        Fact("token", match, (key,)) for key, match in zip(("iss", "sub"), pair, strict=True)
    )
