"""One fact that a policy asks for, in the words of Envoy's RBAC."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.rbac.v3.rbac_pb2 import Permission, Principal
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import (
    UriTemplateMatchConfig,
)
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ListMatcher, OrMatcher, ValueMatcher
from google.protobuf.wrappers_pb2 import UInt32Value

from controlplane.emit.words import packed
from controlplane.mesh.policy import Attribute, Fact, Match
from controlplane.mesh.re2 import quoted

JWT_AUTHN = "envoy.filters.http.jwt_authn"
PAYLOAD = "payload"
"""Under which the payload of a token stands in that filter's metadata."""


def string(match: Match) -> StringMatcher:
    if match.kind == "exact":
        return StringMatcher(exact=match.value, ignore_case=match.ignore_case)
    if match.kind == "prefix":
        return StringMatcher(prefix=match.value, ignore_case=match.ignore_case)
    if match.kind == "suffix":
        return StringMatcher(suffix=match.value, ignore_case=match.ignore_case)
    regex = ".+" if match.kind == "present" else match.value
    return StringMatcher(safe_regex=RegexMatcher(regex=regex))


def header(name: str, match: Match) -> HeaderMatcher:
    if match.kind == "present":
        return HeaderMatcher(name=name, present_match=True)
    if match.inner is not None:
        regex = RegexMatcher(regex=_one_of_several(match.inner))
        return HeaderMatcher(name=name, string_match=StringMatcher(safe_regex=regex))
    return HeaderMatcher(name=name, string_match=string(match))


def _one_of_several(match: Match) -> str:
    """A comma-separated list of which one is like `match` (spaces around it do not count)."""
    rest = "[^,]*"
    before = rest if match.kind == "suffix" else ""
    after = rest if match.kind == "prefix" else ""
    return rf"(.*,)?[ \t]*{before}{quoted(match.value)}{after}[ \t]*(,.*)?"


def cidr(match: Match) -> CidrRange:
    address, _, length = match.value.partition("/")
    widest = 128 if ":" in address else 32
    return CidrRange(
        address_prefix=address, prefix_len=UInt32Value(value=int(length) if length else widest)
    )


# --------------------------------------------------------------------------- metadata


def metadata(facts: Iterable[Fact]) -> MetadataMatcher:
    """Facts about one key, of which one must hold: alternatives inside of one matcher."""
    several = list(facts)
    first = several[0]
    value = _either([_value(fact.match) for fact in several])
    if first.attribute == "claim":
        in_list = ValueMatcher(list_match=ListMatcher(one_of=value))
        value = ValueMatcher(or_match=OrMatcher(value_matchers=[in_list, value]))
    name, path = first.key[0], first.key[1:]
    if first.attribute in ("claim", "token"):
        name, path = JWT_AUTHN, (PAYLOAD, *first.key)
    segments = [MetadataMatcher.PathSegment(key=key) for key in path]
    return MetadataMatcher(filter=name, path=segments, value=value)


def _either(values: list[ValueMatcher]) -> ValueMatcher:
    return (
        values[0] if len(values) == 1 else ValueMatcher(or_match=OrMatcher(value_matchers=values))
    )


def _value(match: Match) -> ValueMatcher:
    if match.inner is not None:
        return ValueMatcher(list_match=ListMatcher(one_of=_value(match.inner)))
    return ValueMatcher(string_match=string(match))


# --------------------------------------------------------------------------- one fact


def principal(fact: Fact) -> Principal:
    """Of the attributes in PRINCIPAL_ATTRIBUTES."""
    return _PRINCIPALS[fact.attribute](fact)


def permission(fact: Fact) -> Permission:
    """Of all other attributes."""
    return _PERMISSIONS[fact.attribute](fact)


def _authenticated(fact: Fact) -> Principal:
    return Principal(authenticated=Principal.Authenticated(principal_name=string(fact.match)))


_PRINCIPALS: Mapping[Attribute, Callable[[Fact], Principal]] = {
    "identity": _authenticated,
    "source_ip": lambda fact: Principal(direct_remote_ip=cidr(fact.match)),
    "remote_ip": lambda fact: Principal(remote_ip=cidr(fact.match)),
    "header": lambda fact: Principal(header=header(fact.key[0], fact.match)),
    "token": lambda fact: Principal(metadata=metadata((fact,))),
    "claim": lambda fact: Principal(metadata=metadata((fact,))),
}


def _path(fact: Fact) -> Permission:
    if fact.match.kind == "template":
        config = packed(UriTemplateMatchConfig(path_template=fact.match.value))
        template = TypedExtensionConfig(name="uri-template", typed_config=config)
        return Permission(uri_template=template)
    return Permission(url_path=PathMatcher(path=string(fact.match)))


_PERMISSIONS: Mapping[Attribute, Callable[[Fact], Permission]] = {
    "host": lambda fact: Permission(header=header(":authority", fact.match)),
    "method": lambda fact: Permission(header=header(":method", fact.match)),
    "path": _path,
    "destination_ip": lambda fact: Permission(destination_ip=cidr(fact.match)),
    "destination_port": lambda fact: Permission(destination_port=int(fact.match.value)),
    "sni": lambda fact: Permission(requested_server_name=string(fact.match)),
    "metadata": lambda fact: Permission(metadata=metadata((fact,))),
}
