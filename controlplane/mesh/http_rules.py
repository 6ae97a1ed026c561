"""HTTP rules in the neutral mesh: what they take, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from controlplane.mesh.policy import Authorizer
from controlplane.mesh.position import NOWHERE, Position
from controlplane.mesh.traffic_policy import ConsistentHash, Tunnel
from protos.frozen import frozen


@frozen
class StringMatch:
    """Istio's StringMatch: exact, prefix or (RE2, whole string) regex."""

    kind: Literal["exact", "prefix", "regex"]
    value: str


@frozen
class ClaimMatch:
    """A claim of the request's token, by its path: a string, or a list that has one. match None:
    it is there. Without a valid token no claim is."""

    path: tuple[str, ...]
    match: StringMatch | None = None
    invert: bool = False


@frozen
class RouteMatch:
    """One alternative of an HTTP rule; an empty match takes everything.

    headers: name -> matcher, None means "present". without_headers: the same, inverted.
    whole_segments: a prefix of the uri ends where a segment of the path does, and does not end in
    a slash itself (Gateway API's PathPrefix).
    """

    uri: StringMatch | None = None
    ignore_uri_case: bool = False
    whole_segments: bool = False
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: Mapping[str, StringMatch | None] = field(default_factory=dict)
    without_headers: Mapping[str, StringMatch | None] = field(default_factory=dict)
    query_params: Mapping[str, StringMatch | None] = field(default_factory=dict)
    claims: tuple[ClaimMatch, ...] = ()
    source_labels: Mapping[str, str] = field(default_factory=dict)
    source_namespace: str = ""
    port: int | None = None
    name: str = ""
    stat_prefix: str = ""


@frozen
class HeaderOperations:
    set: Mapping[str, str] = field(default_factory=dict)
    add: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


@frozen
class Headers:
    request: HeaderOperations = HeaderOperations()
    response: HeaderOperations = HeaderOperations()


@frozen
class Destination:
    """Where a rule sends a share of requests. `host` is a full host name of a service.

    port None: the port the request came for. resolved False: no such service or subset (the
    request will get 503, and a Status says so). hash: by what its endpoint is chosen, where its
    policy says so. tunnel: in what connections go there."""

    host: str
    weight: int = 100
    subset: str = ""
    port: int | None = None
    headers: Headers = Headers()
    resolved: bool = True
    hash: ConsistentHash | None = None
    tunnel: Tunnel | None = None
    position: Position = NOWHERE


@frozen
class Retry:
    """attempts are retries after the first try. retry_on: Envoy's words, comma-joined by emit.
    remote_localities: a retry goes on to the next priority of endpoints."""

    attempts: int
    per_try_timeout_s: float | None = None
    retry_on: tuple[str, ...] = ()
    retriable_status_codes: tuple[int, ...] = ()
    previous_hosts: bool = True
    remote_localities: bool = False
    backoff_s: float | None = None


@frozen
class Redirect:
    """port_of_request: the port at which the request came, in place of `port`. pattern (RE2) and
    substitution make the path of the request's, in place of `uri`; prefix stands for what the
    match took of the path."""

    uri: str = ""
    authority: str = ""
    scheme: str = ""
    port: int | None = None
    code: int = 301
    port_of_request: bool = False
    pattern: str = ""
    substitution: str = ""
    prefix: str = ""


@frozen
class DirectResponse:
    status: int
    body: str | bytes = ""


@frozen
class Rewrite:
    """pattern (RE2) and substitution rewrite the path in place of `uri`, which replaces what the
    match took of it."""

    uri: str = ""
    authority: str = ""
    pattern: str = ""
    substitution: str = ""


@frozen
class Fault:
    """Percents are 0..100 of the requests. abort_grpc: a gRPC status in place of an HTTP one."""

    delay_s: float = 0.0
    delay_percent: float = 0.0
    abort_http: int | None = None
    abort_grpc: int | None = None
    abort_percent: float = 0.0


@frozen
class Mirror:
    destination: Destination
    percent: float = 100.0


@frozen
class Cors:
    """None: not set. forwards: an OPTIONS request whose origin does not match goes upstream."""

    origins: tuple[StringMatch, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age_s: float | None = None
    credentials: bool | None = None
    forwards: bool | None = None


@frozen
class Session:
    """A client's requests stay with the endpoint that had the first one, as a cookie or header says
    that the client brings again. ttl_s: of a cookie, 0 is as long as the client's own session."""

    kind: Literal["cookie", "header"]
    name: str
    path: str = "/"
    ttl_s: int = 0


@frozen
class HttpRule:
    """One `http:` entry. Exactly one of destinations, redirect, direct_response is set.

    timeout_s: None is no timeout (Istio's default). unresolved_status: what is answered where the
    chosen destination is not resolved. authorizers: all of them have to agree."""

    matches: tuple[RouteMatch, ...]
    destinations: tuple[Destination, ...] = ()
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    rewrite: Rewrite | None = None
    timeout_s: float | None = None
    retry: Retry | None = None
    headers: Headers = Headers()
    fault: Fault | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None
    unresolved_status: Literal[500, 503] = 503
    session: Session | None = None
    authorizers: tuple[Authorizer, ...] = ()
    name: str = ""
    position: Position = NOWHERE
