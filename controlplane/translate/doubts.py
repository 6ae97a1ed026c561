"""Values of an AuthorizationPolicy that nothing in a mesh ever equals: slips that open or shut it.

Each is valid, and Istio takes it in silence: a DENY rule with one denies nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from controlplane.kinds.authorization_policy import (
    AuthorizationPolicy,
    Condition,
    Operation,
    Source,
)
from controlplane.kinds.schema import Record, names, plan_of
from controlplane.mesh.model import Position
from controlplane.translate.report import Report

_METHODS = names("GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH")
_PRINCIPAL = "TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT"


def _principal(value: str) -> str:
    if value.startswith("spiffe://"):
        return f"principals stand without spiffe://: {value.removeprefix('spiffe://')}"
    if "/" not in value and "*" not in value:
        return f"a principal is {_PRINCIPAL}; serviceAccounts takes names alone"
    return ""


def _method(value: str) -> str:
    upper = value.upper()
    return f"methods are told apart by case: {upper}" if upper in _METHODS - {value} else ""


def _path(value: str) -> str:
    return "" if value.startswith(("/", "*")) else f"paths begin with a slash: /{value}"


def _host(value: str) -> str:
    return "a host is a name, with a port perhaps, and no URL" if "/" in value else ""


def _namespace(value: str) -> str:
    return "a namespace's name has no slash" if "/" in value else ""


def _token(value: str) -> str:
    if "/" in value or "*" in value:
        return ""
    return "the principal of a token is ISSUER/SUBJECT"


Doubt = Callable[[str], str]
_DOUBTS: Mapping[str, Doubt] = {
    "principals": _principal,
    "methods": _method,
    "paths": _path,
    "hosts": _host,
    "namespaces": _namespace,
    "requestPrincipals": _token,
    "source.principal": _principal,
    "source.namespace": _namespace,
    "request.auth.principal": _token,
}
"""By field, or by the key of a condition: what to write instead, '' if nothing is to be said."""


def tell_doubts(item: AuthorizationPolicy, report: Report) -> None:
    for position, where, value, hint in _found(item):
        message = f"{where}: nothing is ever {value!r}; {hint}"
        report.warning(item, position, "NeverMatches", message)


def _found(item: AuthorizationPolicy) -> Iterator[tuple[Position, str, str, str]]:
    for index, rule in enumerate(item.spec.rules):
        path = f"spec.rules[{index}]"
        for number, one in enumerate(rule.from_):
            yield from _of_fields(one.source, f"{path}.from[{number}].source")
        for number, other in enumerate(rule.to):
            yield from _of_fields(other.operation, f"{path}.to[{number}].operation")
        for number, condition in enumerate(rule.when):
            yield from _of_condition(condition, f"{path}.when[{number}]")


def _of_fields(record: Source | Operation, path: str) -> Iterator[tuple[Position, str, str, str]]:
    for key, name, doubt in _LOOKED_AT[type(record)]:
        if values := getattr(record, name):
            yield from _doubted(doubt, record, path, key, values)


def _doubtful(cls: type[Record]) -> tuple[tuple[str, str, Doubt], ...]:
    """The fields that are looked at: in YAML, in Python, and how."""
    found = []
    for key, (name, _) in plan_of(cls).fields.items():
        bare = key.removeprefix("not")
        if (doubt := _DOUBTS.get(bare[:1].lower() + bare[1:])) is not None:
            found.append((key, name, doubt))
    return tuple(found)


_LOOKED_AT = {cls: _doubtful(cls) for cls in (Source, Operation)}


def _of_condition(item: Condition, path: str) -> Iterator[tuple[Position, str, str, str]]:
    doubt = _DOUBTS.get(item.key)
    if doubt is not None:
        yield from _doubted(doubt, item, path, "values", item.values)
        yield from _doubted(doubt, item, path, "notValues", item.not_values)


def _doubted(
    doubt: Doubt, record: Record, path: str, key: str, values: Iterable[str]
) -> Iterator[tuple[Position, str, str, str]]:
    for index, value in enumerate(values):
        if hint := doubt(value):
            field = f"{key}[{index}]"
            yield record.at(field), f"{path}.{field}", value, hint
