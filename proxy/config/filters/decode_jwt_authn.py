"""Decodes `envoy.filters.http.jwt_authn`: providers, and what is demanded where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2

from certs.errors import CertificateError
from proxy.config.decode_common import (
    PREFIX,
    data_source,
    optional_seconds,
    parse,
    seconds_or,
)
from proxy.config.decode_matchers import string_matcher
from proxy.config.decode_route_match import route_match
from proxy.config.decode_services import HTTP_FAILURES, http_uri, repeats
from proxy.config.model.jwt import (
    AllOf,
    AllowMissing,
    AllowMissingOrFailed,
    AnyOf,
    FilterStateRule,
    FromProvider,
    JwtAuthnConfig,
    JwtAuthnPerRoute,
    JwtProvider,
    RemoteJwks,
    Requirement,
    RequirementRule,
)
from proxy.config.rejected import Rejected
from proxy.http.inquiry import NEVER

TYPE_URL = PREFIX + config_pb2.JwtAuthentication.DESCRIPTOR.full_name
PER_ROUTE_TYPE_URL = PREFIX + config_pb2.PerRouteConfig.DESCRIPTOR.full_name
DEFAULT_CACHE_SIZE = 100
MAX_CACHE_SIZE = 100_000
DEFAULT_TOKEN_BYTES = 4096


def decode(value: bytes, path: str) -> JwtAuthnConfig:
    message = parse(config_pb2.JwtAuthentication, value, path)
    known = frozenset(message.providers)
    named = {
        name: _requirement(message.requirement_map[name], f"{path}.requirement_map[{name}]", known)
        for name in sorted(message.requirement_map)
    }
    return JwtAuthnConfig(
        tuple(
            _provider(name, message.providers[name], f"{path}.providers[{name}]")
            for name in sorted(message.providers)
        ),
        tuple(
            _rule(each, f"{path}.rules[{i}]", known, named) for i, each in enumerate(message.rules)
        ),
        _by_filter_state(message, f"{path}.filter_state_rules", known),
        named,
        message.bypass_cors_preflight,
        message.strip_failure_response,
        message.stat_prefix,
    )


def decode_per_route(value: bytes, path: str) -> JwtAuthnPerRoute:
    message = parse(config_pb2.PerRouteConfig, value, path)
    return JwtAuthnPerRoute(message.disabled, message.requirement_name)


# --------------------------------------------------------------------------- providers


def _provider(name: str, message: config_pb2.JwtProvider, path: str) -> JwtProvider:
    local = message.WhichOneof("jwks_source_specifier") == "local_jwks"
    size, longest = _cache(message, f"{path}.jwt_cache_config")
    keys = data_source(message.local_jwks, f"{path}.local_jwks").data if local else None
    if keys is not None:
        _check_keys(keys, f"{path}.local_jwks")
    return JwtProvider(
        name=name,
        issuer=message.issuer,
        audiences=tuple(message.audiences),
        subjects=string_matcher(message.subjects, f"{path}.subjects")
        if message.HasField("subjects")
        else None,
        require_expiration=message.require_expiration,
        max_lifetime_s=optional_seconds(message, "max_lifetime"),
        local_jwks=keys,
        remote=None if local else _remote(message.remote_jwks, f"{path}.remote_jwks"),
        forward=message.forward,
        from_headers=tuple((each.name.lower(), each.value_prefix) for each in message.from_headers),
        from_params=tuple(message.from_params),
        from_cookies=tuple(message.from_cookies),
        forward_payload_header=message.forward_payload_header.lower(),
        pad_forward_payload_header=message.pad_forward_payload_header,
        payload_in_metadata=message.payload_in_metadata,
        space_delimited_claims=tuple(message.normalize_payload_in_metadata.space_delimited_claims),
        header_in_metadata=message.header_in_metadata,
        failed_status_in_metadata=message.failed_status_in_metadata,
        clock_skew_s=message.clock_skew_seconds or 60,
        cache_size=size,
        max_token_bytes=longest,
        claim_to_headers=tuple(
            (each.claim_name, each.header_name.lower()) for each in message.claim_to_headers
        ),
        clear_route_cache=message.clear_route_cache,
    )


def _check_keys(text: bytes, path: str) -> None:
    """Envoy, too, refuses a provider whose keys are none. One whose keys are weak is taken, as by
    Envoy, but no token is accepted from it."""
    from certs.jwt_keys import KeySet, WeakKey  # cryptography: only where it is needed

    try:
        KeySet.parse(text)
    except WeakKey:
        return
    except CertificateError as error:
        raise Rejected(path, f"has no usable keys: {error}") from None


def _cache(message: config_pb2.JwtProvider, path: str) -> tuple[int, int]:
    """Size and the longest token kept; without the message there is no cache."""
    if not message.HasField("jwt_cache_config"):
        return 0, 0
    config = message.jwt_cache_config
    if config.jwt_cache_size > MAX_CACHE_SIZE:
        raise Rejected(f"{path}.jwt_cache_size", f"is more than {MAX_CACHE_SIZE}")
    return (
        config.jwt_cache_size or DEFAULT_CACHE_SIZE,
        config.jwt_max_token_size or DEFAULT_TOKEN_BYTES,
    )


def _remote(message: config_pb2.RemoteJwks, path: str) -> RemoteJwks:
    ahead = message.async_fetch
    return RemoteJwks(
        http_uri(message.http_uri, f"{path}.http_uri"),
        seconds_or(message, "cache_duration", 600.0),
        message.HasField("async_fetch"),
        seconds_or(ahead, "failed_refetch_duration", 1.0),
        repeats(message.retry_policy, f"{path}.retry_policy", HTTP_FAILURES)
        if message.HasField("retry_policy")
        else NEVER,
    )


# --------------------------------------------------------------------------- what is demanded


def _rule(
    message: config_pb2.RequirementRule,
    path: str,
    known: frozenset[str],
    named: Mapping[str, Requirement],
) -> RequirementRule:
    kind = message.WhichOneof("requirement_type")
    needs: Requirement | None = None
    if kind == "requirement_name":
        needs = named.get(message.requirement_name)
        if needs is None:
            why = f"there is no `{message.requirement_name}` in requirement_map"
            raise Rejected(f"{path}.requirement_name", why)
    elif kind == "requires":
        needs = _optional(message.requires, f"{path}.requires", known)
    return RequirementRule(route_match(message.match, f"{path}.match"), needs)


def _by_filter_state(
    message: config_pb2.JwtAuthentication, path: str, known: frozenset[str]
) -> FilterStateRule | None:
    if not message.HasField("filter_state_rules"):
        return None
    rule = message.filter_state_rules
    found = {
        key: _requirement(rule.requires[key], f"{path}.requires[{key}]", known)
        for key in sorted(rule.requires)
    }
    return FilterStateRule(rule.name, found)


def _optional(
    message: config_pb2.JwtRequirement, path: str, known: frozenset[str]
) -> Requirement | None:
    """An empty one demands nothing (Envoy)."""
    if message.WhichOneof("requires_type") is None:
        return None
    return _requirement(message, path, known)


def _requirement(
    message: config_pb2.JwtRequirement, path: str, known: frozenset[str]
) -> Requirement:
    kind = message.WhichOneof("requires_type")
    if kind == "provider_name":
        return FromProvider(_known(message.provider_name, f"{path}.{kind}", known))
    if kind == "provider_and_audiences":
        inner, where = message.provider_and_audiences, f"{path}.{kind}.provider_name"
        return FromProvider(_known(inner.provider_name, where, known), tuple(inner.audiences))
    if kind == "requires_any":
        return AnyOf(_each(message.requires_any.requirements, f"{path}.{kind}", known))
    if kind == "requires_all":
        return AllOf(_each(message.requires_all.requirements, f"{path}.{kind}", known))
    if kind == "allow_missing":
        return AllowMissing()
    if kind == "allow_missing_or_failed":
        return AllowMissingOrFailed()
    return AllOf(())


def _each(
    messages: Iterable[config_pb2.JwtRequirement], path: str, known: frozenset[str]
) -> tuple[Requirement, ...]:
    return tuple(
        _requirement(each, f"{path}.requirements[{i}]", known) for i, each in enumerate(messages)
    )


def _known(name: str, path: str, known: frozenset[str]) -> str:
    if name not in known:
        raise Rejected(path, f"there is no provider `{name}`")
    return name
