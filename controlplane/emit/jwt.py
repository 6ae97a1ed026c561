"""Tokens that count, as Envoy's jwt_authn: a token must be valid, no token is no token (Istio).

The payload of a valid one stands in the filter's metadata for the policies behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.http_uri_pb2 import HttpUri
from envoy.config.endpoint.v3 import endpoint_components_pb2 as parts
from envoy.config.route.v3.route_components_pb2 import RouteMatch
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt_pb2
from google.protobuf.empty_pb2 import Empty

from controlplane.emit import names, tls
from controlplane.emit.facts import JWT_AUTHN, PAYLOAD
from controlplane.emit.words import seconds, socket_address
from controlplane.mesh.policy import TokenRule

NAME = JWT_AUTHN
CACHE_S = 300.0
"""How long fetched keys are used, Istio's."""

REFETCH_S = 10.0
"""How long after a failure it is tried again."""

AHEAD = jwt_pb2.JwksAsyncFetch(fast_listener=True, failed_refetch_duration=seconds(REFETCH_S))
"""Before anybody needs them, so that the last good ones stay while their server is away; no
listener waits for the first ones."""

CONNECT_TIMEOUT_S = 10.0
NO_KEYS = HttpUri(uri="http://keys.invalid/", cluster="jwks|unknown", timeout=seconds(1.0))
"""For an issuer whose keys are not known: no such cluster, so every token of it is refused."""

_PORTS = {"http": 80, "https": 443}
Requirement = jwt_pb2.JwtRequirement


def authentication(rules: Sequence[TokenRule], reroute: bool) -> jwt_pb2.JwtAuthentication:
    named = {name: _provider(rule, reroute) for name, rule in provider_names(rules).items()}
    return jwt_pb2.JwtAuthentication(
        providers=named,
        rules=[jwt_pb2.RequirementRule(match=RouteMatch(prefix="/"), requires=_requirement(named))],
        bypass_cors_preflight=True,
    )


def provider_names(rules: Sequence[TokenRule]) -> dict[str, TokenRule]:
    """In the order of the issuers, so that the names of providers stay (Istio's)."""
    ordered = sorted(rules, key=lambda rule: rule.issuer)
    return {f"origins-{index}": rule for index, rule in enumerate(ordered)}


def _requirement(providers: Iterable[str]) -> jwt_pb2.JwtRequirement:
    """Of several issuers: a token of any of them, or none that is wrong. They may look for their
    tokens in the same place, so that the second part alone would refuse each other's."""
    each = [Requirement(provider_name=name) for name in providers]
    missing = Requirement(allow_missing=Empty())
    none_wrong = [_any([one, missing]) for one in each]
    if len(each) == 1:
        return none_wrong[0]
    together = jwt_pb2.JwtRequirementAndList(requirements=none_wrong)
    return _any([*each, Requirement(requires_all=together)])


def _any(requirements: Iterable[jwt_pb2.JwtRequirement]) -> jwt_pb2.JwtRequirement:
    return Requirement(requires_any=jwt_pb2.JwtRequirementOrList(requirements=requirements))


def _provider(rule: TokenRule, reroute: bool) -> jwt_pb2.JwtProvider:
    provider = jwt_pb2.JwtProvider(
        issuer=rule.issuer,
        audiences=rule.audiences,
        forward=rule.forward,
        forward_payload_header=rule.payload_header,
        payload_in_metadata=PAYLOAD,
        from_headers=[jwt_pb2.JwtHeader(name=n, value_prefix=p) for n, p in rule.from_headers],
        from_params=rule.from_params,
        from_cookies=rule.from_cookies,
        claim_to_headers=[
            jwt_pb2.JwtClaimToHeader(header_name=header, claim_name=claim)
            for header, claim in rule.claim_headers
        ],
        clear_route_cache=reroute,
    )
    provider.normalize_payload_in_metadata.space_delimited_claims.extend(
        rule.space_delimited_claims
    )
    if rule.jwks:
        provider.local_jwks.CopyFrom(DataSource(inline_string=rule.jwks))
    else:
        provider.remote_jwks.CopyFrom(_remote(rule))
    return provider


# --------------------------------------------------------------------------- fetched keys


def _remote(rule: TokenRule) -> jwt_pb2.RemoteJwks:
    if not rule.jwks_uri:
        return jwt_pb2.RemoteJwks(http_uri=NO_KEYS, cache_duration=seconds(CACHE_S))
    place = rule.jwks_service
    cluster = names.outbound_cluster(*place) if place is not None else cluster_name(rule)
    return jwt_pb2.RemoteJwks(
        http_uri=HttpUri(uri=rule.jwks_uri, cluster=cluster, timeout=seconds(rule.timeout_s)),
        cache_duration=seconds(CACHE_S),
        async_fetch=AHEAD,
    )


def _place(rule: TokenRule) -> tuple[str, int]:
    parts_ = urlsplit(rule.jwks_uri)
    return parts_.hostname or "", parts_.port or _PORTS[parts_.scheme]


def cluster_name(rule: TokenRule) -> str:
    """Of the cluster for a host that is no service of the mesh."""
    host, port = _place(rule)
    return f"jwks|{port}||{host}"


def cluster(rule: TokenRule) -> Cluster:
    """The way to that host: by DNS, with TLS verified by the system's roots for https."""
    host, port = _place(rule)
    made = Cluster(
        name=cluster_name(rule),
        type=Cluster.STRICT_DNS,
        dns_lookup_family=Cluster.V4_PREFERRED,
        connect_timeout=seconds(CONNECT_TIMEOUT_S),
        respect_dns_ttl=True,
    )
    made.load_assignment.cluster_name = made.name
    endpoint = parts.Endpoint(address=socket_address(host, port))
    made.load_assignment.endpoints.add(lb_endpoints=[parts.LbEndpoint(endpoint=endpoint)])
    if rule.jwks_uri.startswith("https:"):
        made.transport_socket.CopyFrom(tls.upstream_simple(host, (host,)))
    return made
