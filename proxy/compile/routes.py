"""Route configurations into tables of `RouteEntry`: everything that can be decided beforehand is.

Clusters are looked up by name for each request, so that routes and clusters change independently.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate
from random import Random

from proxy import match
from proxy.compile.edits import Edit, request_edit, response_edit
from proxy.config.model import (
    DirectResponse,
    HeaderEdits,
    RedirectAction,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
    WeightedCluster,
)
from proxy.filters.api import Reply
from proxy.http.headers import Edit as HeaderEdit
from proxy.http.message import Request, Response
from proxy.l7.entry import RouteEntry
from proxy.l7.stream import Stream
from proxy.route import rewrite
from proxy.route.table import Table, route_matches
from proxy.upstream.cluster import Cluster
from proxy.upstream.retry import RetryRule

DEFAULT_TIMEOUT_S = 15.0
EXPECTED_TIMEOUT = b"x-envoy-expected-rq-timeout-ms"
ATTEMPT_COUNT = b"x-envoy-attempt-count"
ORIGINAL_PATH = b"x-envoy-original-path"
ORIGINAL_HOST = b"x-envoy-original-host"
FORWARDED_HOST = b"x-forwarded-host"

# Shared by all routes: what they know of shapes is the same, and with thousands of routes a lot.
_count_attempts = HeaderEdit(names=(ATTEMPT_COUNT,))
_expect = HeaderEdit(names=(EXPECTED_TIMEOUT,))
_expect_nothing = HeaderEdit(remove=(EXPECTED_TIMEOUT,))

Clusters = Mapping[str, Cluster]
Rewrite = Callable[[Stream], None]


def table(
    config: RouteConfiguration, clusters: Clusters, random: Random, envoy_headers: bool
) -> Table[RouteEntry]:
    """envoy_headers: False is the router filter's `suppress_envoy_headers`."""
    found: Table[RouteEntry] = Table(config.ignore_port_in_host_matching)
    for host in config.virtual_hosts:
        routes: list[tuple[Callable[[Request], bool] | None, RouteEntry]] = []
        for route in host.routes:
            compiler = _RouteCompiler(config, host, route, clusters, random, envoy_headers)
            matches = route_matches(route.match, random)
            if host.require_tls != "NONE":
                routes.append((_and_plaintext(matches), _to_https(route.name)))
            routes.append((matches, compiler.entry()))
        found.add(host.domains, routes)
    return found


def _and_plaintext(matches: Callable[[Request], bool] | None) -> Callable[[Request], bool]:
    if matches is None:
        return lambda request: request.scheme != b"https"
    return lambda request: request.scheme != b"https" and matches(request)


def _to_https(name: str) -> RouteEntry:
    """`require_tls`: plaintext is sent to the same place by https."""

    def answer(stream: Stream) -> Reply:
        request = stream.request
        location = b"https://%b%b" % (request.authority, request.path)
        return Reply(301, headers=((b"location", location),))

    return RouteEntry(name, answer, _nobody, _nothing)


def _nobody(_: Stream) -> Cluster | None:
    return None


def _nothing(_: Stream) -> None:
    return None


class _RouteCompiler:
    """One route with the levels above it."""

    def __init__(
        self,
        config: RouteConfiguration,
        host: VirtualHost,
        route: Route,
        clusters: Clusters,
        random: Random,
        envoy_headers: bool,
    ) -> None:
        self._host = host
        self._route = route
        self._clusters = clusters
        self._random = random
        self._envoy_headers = envoy_headers
        levels = [route.edits, host.edits, config.edits]
        if config.most_specific_header_mutations_wins:
            levels.reverse()
        self._levels: list[HeaderEdits] = levels

    def entry(self) -> RouteEntry:
        action = self._route.action
        if isinstance(action, RouteAction):
            return self._forward(action)
        if isinstance(action, RedirectAction):
            answer = self._redirect(action)
        else:
            answer = self._direct(action)
        entry = RouteEntry(self._route.name, answer, _nobody, _nothing)
        entry.edit_response = _on_response(response_edit(self._levels))
        return entry

    def _direct(self, action: DirectResponse) -> Callable[[Stream], Reply]:
        reply = Reply(action.status, action.body, "", "direct_response")
        return lambda _: reply

    def _redirect(self, action: RedirectAction) -> Callable[[Stream], Reply]:
        target = rewrite.redirect_target(action, self._route.match)

        def answer(stream: Stream) -> Reply:
            location = (b"location", target(stream.request))
            return Reply(action.status, b"", "", "direct_response", (location,))

        return answer

    # ------------------------------------------------------------------ to a cluster

    def _forward(self, action: RouteAction) -> RouteEntry:
        retry = action.retry or self._host.retry
        timeout_s = DEFAULT_TIMEOUT_S if action.timeout_s is None else action.timeout_s
        per_try_s = (retry.per_try_timeout_s or 0.0) if retry else 0.0
        entry = RouteEntry(
            self._route.name,
            None,
            self._choose(action),
            self._rewrite(action),
            not_found_status=action.cluster_not_found_status,
            priority=action.priority,
            timeout_s=timeout_s,
            per_try_timeout_s=per_try_s,
            idle_timeout_s=action.idle_timeout_s,
            retry=_rule(retry) if retry else None,
            hedges=_first(action.hedge_on_per_try_timeout, self._host.hedge_on_per_try_timeout),
            tells_timeout_retry=self._host.include_is_timeout_retry_header,
            tells_time=self._envoy_headers,
        )
        entry.before_send = self._before_send()
        entry.edit_response = self._edit_response()
        if action.weighted:
            self._weigh(action.weighted, entry)
        return entry

    def _choose(self, action: RouteAction) -> Callable[[Stream], Cluster | None]:
        get = self._clusters.get
        if action.cluster_header is not None:
            header = action.cluster_header.lower().encode()

            def by_header(stream: Stream) -> Cluster | None:
                name = stream.request.headers.get(header)
                return None if name is None else get(name.decode("latin-1"))

            return by_header
        name = action.cluster or ""
        return lambda _: get(name)

    def _weigh(self, weighted: tuple[WeightedCluster, ...], entry: RouteEntry) -> None:
        """Each request goes to one of the clusters by their weights, and gets that one's edits."""
        edges = list(accumulate(cluster.weight for cluster in weighted))
        total = edges[-1]
        get = self._clusters.get
        draw = self._random.random
        requests = [request_edit([cluster.edits]) for cluster in weighted]
        responses = [response_edit([cluster.edits]) for cluster in weighted]
        hosts = [c.host_rewrite.encode() if c.host_rewrite else None for c in weighted]
        names = [cluster.name for cluster in weighted]
        plain = not any(requests) and not any(responses) and not any(hosts)
        if plain:
            entry.choose = lambda _: get(names[bisect_right(edges, draw() * total)])
            return

        def choose(stream: Stream) -> Cluster | None:
            at = bisect_right(edges, draw() * total)
            stream.choice = at
            edit, host = requests[at], hosts[at]
            if edit is not None:
                edit(stream, stream.request.headers)
            if host is not None:
                stream.request.authority = host
            return get(names[at])

        inner = entry.edit_response

        def edit_response(stream: Stream, response: Response) -> None:
            edit = responses[stream.choice]
            if edit is not None:
                edit(stream, response.headers)
            if inner is not None:
                inner(stream, response)

        entry.choose = choose
        entry.edit_response = edit_response

    # ------------------------------------------------------------------ edits on the way

    def _rewrite(self, action: RouteAction) -> Rewrite:
        """Header mutations, host and path, the expected timeout: in this order."""
        steps: list[Rewrite] = []
        edit = request_edit(self._levels)
        if edit is not None:
            steps.append(lambda stream: edit(stream, stream.request.headers))
        host = self._host_rewrite(action)
        if host is not None:
            steps.append(host)
        path = self._path_rewrite(action)
        if path is not None:
            steps.append(path)
        tells = _tell_timeout if self._envoy_headers else _nothing

        def apply(stream: Stream) -> None:
            for step in steps:
                step(stream)
            tells(stream)

        return apply

    def _host_rewrite(self, action: RouteAction) -> Rewrite | None:
        appends = action.append_x_forwarded_host
        fixed = action.host_rewrite.encode() if action.host_rewrite else None
        header = action.host_rewrite_header
        name = header.lower().encode() if header else None
        if fixed is None and name is None:
            return None
        tells = self._envoy_headers

        def apply(stream: Stream) -> None:
            request = stream.request
            new = fixed if name is None else request.headers.get(name)
            if not new:
                return
            if appends:
                known = request.headers.joined(FORWARDED_HOST)
                old = request.authority
                request.headers.set(FORWARDED_HOST, known + b"," + old if known else old)
            if tells:
                request.headers.set(ORIGINAL_HOST, request.authority)
            request.authority = new

        return apply

    def _path_rewrite(self, action: RouteAction) -> Rewrite | None:
        if action.prefix_rewrite:
            new_path = rewrite.prefix_rewrite(self._route.match, action.prefix_rewrite)
        elif action.regex_rewrite is not None:
            new_path = rewrite.regex_rewrite(action.regex_rewrite)
        else:
            return None
        tells = self._envoy_headers

        def apply(stream: Stream) -> None:
            request = stream.request
            path = new_path(request.path)
            if not path:  # Envoy leaves the path alone then
                return
            if tells:
                request.headers.set(ORIGINAL_PATH, request.path)
            request.path = path

        return apply

    def _before_send(self) -> Callable[[Stream], None] | None:
        """What differs between attempts."""
        counts = self._host.include_request_attempt_count
        auto = isinstance(self._route.action, RouteAction) and self._route.action.auto_host_rewrite
        if not counts and not auto:
            return None

        def apply(stream: Stream) -> None:
            if counts:
                _count_attempts.apply(stream.request.headers, (b"%d" % stream.attempt,))
            if auto and stream.host is not None and stream.host.hostname:
                stream.request.authority = stream.host.hostname.encode()

        return apply

    def _edit_response(self) -> Callable[[Stream, Response], None] | None:
        edit = response_edit(self._levels)
        if not self._host.include_attempt_count_in_response:
            return _on_response(edit)

        def apply(stream: Stream, response: Response) -> None:
            if stream.attempt:
                _count_attempts.apply(response.headers, (b"%d" % stream.attempt,))
            if edit is not None:
                edit(stream, response.headers)

        return apply


def _on_response(edit: Edit | None) -> Callable[[Stream, Response], None] | None:
    if edit is None:
        return None
    return lambda stream, response: edit(stream, response.headers)


def _first(*values: bool | None) -> bool:
    """The first that is set."""
    return next((value for value in values if value is not None), False)


def _rule(policy: RetryPolicy) -> RetryRule:
    return RetryRule(
        policy,
        tuple(match.response_header(m) for m in policy.retriable_headers),
        tuple(match.header(m) for m in policy.retriable_request_headers),
    )


def _tell_timeout(stream: Stream) -> None:
    """`x-envoy-expected-rq-timeout-ms`: how long the upstream has, unless a retry follows."""
    timeout_s = (not stream.may_hedge and stream.per_try_timeout_s) or stream.timeout_s
    if timeout_s:
        _expect.apply(stream.request.headers, (b"%d" % (timeout_s * 1000),))
    else:
        _expect_nothing.apply(stream.request.headers)
