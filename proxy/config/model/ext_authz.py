"""Whom a filter asks whether a request may pass, what it tells, and what it takes from the answer.

Of the HTTP filter (`ext_authz.v3`) and of the network filter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from protos.frozen import frozen
from proxy.config.model.common import FractionalPercent, HeaderValueOption, StringMatcher
from proxy.config.model.metadata import MetadataMatcher
from proxy.config.model.services import GrpcService, HttpUri
from proxy.http.inquiry import NEVER, Repeats

Matchers = tuple[StringMatcher, ...] | None
"""None is not the same as none at all."""


@frozen
class HttpAuthz:
    """An HTTP service. upstream, upstream_appended: headers of its consent that go to the upstream;
    client, client_on_success: headers of its refusal or consent that go to the client; metadata:
    those that become dynamic metadata. asked: headers of the request that it is told, beside
    Envoy's own few."""

    uri: HttpUri
    path_prefix: str = ""
    asked: Matchers = None
    headers_to_add: tuple[HeaderValueOption, ...] = ()
    upstream: Matchers = None
    upstream_appended: Matchers = None
    client: Matchers = None
    client_on_success: Matchers = None
    metadata: Matchers = None
    repeats: Repeats = NEVER


Service = GrpcService | HttpAuthz


@frozen
class BodySettings:
    """Partial: what there is at `max_bytes` is told; else a longer request is refused."""

    max_bytes: int
    partial: bool = False
    raw: bool = False


@frozen
class MutationRules:
    """Which headers of a request a service may change (`mutation_rules.v3`). allow, disallow:
    regular expressions, '' for none; disallow goes first. is_error: else what is forbidden is
    left out."""

    allow_all_routing: bool = False
    allow_envoy: bool = False
    disallow_system: bool = False
    disallow_all: bool = False
    allow: str = ""
    disallow: str = ""
    is_error: bool = False


@frozen
class ExtAuthzConfig:
    """deny_at_disable, deny_key: refuse where the filter is off; its runtime key. share: of the
    requests that are asked about."""

    service: Service
    failure_mode_allow: bool = False
    failure_mode_allow_header: bool = False
    body: BodySettings | None = None
    clear_route_cache: bool = False
    status_on_error: int = 403
    validate_mutations: bool = False
    metadata_namespaces: tuple[str, ...] = ()
    route_metadata_namespaces: tuple[str, ...] = ()
    share: FractionalPercent | None = None
    where: MetadataMatcher | None = None
    deny_at_disable: bool = False
    deny_key: str = ""
    peer_certificate: bool = False
    tls_session: bool = False
    stat_prefix: str = ""
    allowed_headers: Matchers = None
    disallowed_headers: Matchers = None
    charges_cluster: bool = True
    raw_headers: bool = False
    ingests_metadata: bool = True
    max_denied_body_bytes: int = 0
    mutation_rules: MutationRules | None = None


@frozen
class ExtAuthzPerRoute:
    """body_off: the request's body is not told here."""

    disabled: bool = False
    extensions: Mapping[str, str] = field(default_factory=dict, hash=False)
    body_off: bool = False
    body: BodySettings | None = None
    service: Service | None = None


@frozen
class NetworkExtAuthz:
    """Of a TCP chain."""

    stat_prefix: str
    service: GrpcService
    failure_mode_allow: bool = False
    peer_certificate: bool = False
    tls_session: bool = False
    where: MetadataMatcher | None = None
    metadata_namespaces: tuple[str, ...] = ()
