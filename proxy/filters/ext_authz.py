"""`envoy.filters.http.ext_authz`: another service says whether a request may pass.

    (head, perhaps body) -> asked -> consent: headers are edited, it goes on
                                  -> refusal: the service's answer
                                  -> no word: refused, or let through where that is configured

A request waits for the word with its body kept; if its client leaves, nobody asks any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from proxy import match
from proxy.authz.question import Question, Verdict, peers
from proxy.config.filters.decode_ext_authz import TYPE_URL
from proxy.config.model.ext_authz import BodySettings, ExtAuthzConfig, ExtAuthzPerRoute
from proxy.filters.api import WAIT, Answer, Filter, FilterContext, FilterStream, Hooks, Reply
from proxy.filters.ext_authz_denials import explained
from proxy.filters.ext_authz_effects import edit_headers, edit_request, is_safe, is_valid
from proxy.filters.ext_authz_service import NameTest, asked, http_part, name_test
from proxy.filters.ext_authz_stats import AuthzStats
from proxy.filters.mutation_rules import may_change
from proxy.http.headers import Headers
from proxy.http.inquiry import Asking, Outcome
from proxy.http.message import Response

NAMESPACE = "envoy.filters.http.ext_authz"
STATE = "weft.ext_authz"
ALLOWED_ANYWAY = b"x-envoy-auth-failure-mode-allowed"
SERVICE_CLUSTER = b"x-envoy-downstream-service-cluster"
TOO_LARGE = Reply(413, b"Payload Too Large", "", "request_payload_too_large", close=True)
INVALID = Reply(500, b"", "UAEX", "ext_authz_invalid")

__all__ = ["TYPE_URL", "build"]


def build(config: ExtAuthzConfig, context: FilterContext) -> Filter:
    return ExtAuthz(config, context)


class ExtAuthz:
    def __init__(self, config: ExtAuthzConfig, context: FilterContext) -> None:
        self._config = config
        self._context = context
        self._stats = AuthzStats(context, config.stat_prefix)

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        """The most specific one decides; what they tell the service is joined."""
        given = [each for each in overrides if isinstance(each, ExtAuthzPerRoute)]
        route = given[0] if given else ExtAuthzPerRoute()
        if route.disabled:
            return None
        extensions = {
            name: value for each in reversed(given) for name, value in each.extensions.items()
        }
        checks = Checks(self._config, route, extensions, self._context, self._stats)
        if checks.body is None:
            return Hooks(checks.on_request, checks.on_response, at_end=checks.at_end)
        return Hooks(
            checks.on_request,
            checks.on_response,
            on_request_data=checks.on_request_data,
            on_request_end=checks.on_request_end,
            at_end=checks.at_end,
        )


class Check:
    """One request's. taken: what there is of its body. partial: it is not all. asking: None before
    and after. answer: what came while nobody waited yet. over: the word is here."""

    __slots__ = ("answer", "asking", "began", "over", "response_writes", "size", "taken", "waits")

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.size = 0
        self.asking: Asking | None = None
        self.began = 0.0
        self.waits = False
        self.over = False
        self.answer: Answer = None
        self.response_writes: Verdict | None = None


class Checks:
    """What the filter does on the routes of one configuration."""

    def __init__(
        self,
        config: ExtAuthzConfig,
        route: ExtAuthzPerRoute,
        extensions: Mapping[str, str],
        context: FilterContext,
        stats: AuthzStats,
    ) -> None:
        self._config = config
        self._context = context
        self._stats = stats
        self._extensions = extensions
        self._service = asked(route.service or config.service, context)
        self.body: BodySettings | None = None if route.body_off else route.body or config.body
        self._enabled = _enabled(config, context)
        rules = config.mutation_rules
        self._may_change = may_change(rules) if rules is not None else None
        self._forbidden_is_error = rules is not None and rules.is_error
        self._tells = _tells(config, self._service.tells)

    # ------------------------------------------------------------------ the request's way

    def on_request(self, stream: FilterStream) -> Answer:
        if stream.route is None:
            return None
        if self._enabled is not None and not self._enabled(stream):
            return self._off(stream)
        check = Check()
        stream.filter_state[STATE] = check
        body = self.body
        whole = stream.request_done and not stream.body_received
        if body is None or whole or stream.request.upgrade:
            return self._ask(stream, check, None)
        if not body.partial:
            stream.buffer_limit_bytes = body.max_bytes
        return WAIT

    def on_request_data(self, stream: FilterStream, data: bytes, end: bool) -> bytes:
        check, body = stream.filter_state.get(STATE), self.body
        if isinstance(check, Check) and body is not None and not check.began and not check.over:
            check.size += len(data)
            check.taken.append(data)
            if body.partial and check.size >= body.max_bytes:
                self._ask_behind(stream, check, check.size > body.max_bytes)
            elif not body.partial and stream.body_received > body.max_bytes:
                check.over = True
                stream.resume(explained(self._context, stream, TOO_LARGE))
        return data

    def on_request_end(self, stream: FilterStream, trailers: Headers | None) -> None:
        check = stream.filter_state.get(STATE)
        if isinstance(check, Check) and not check.began and not check.over:
            self._ask_behind(stream, check, False)

    def on_response(self, stream: FilterStream, response: Response) -> Reply | None:
        check = stream.filter_state.get(STATE)
        if isinstance(check, Check) and check.response_writes is not None:
            edit_headers(response.headers, check.response_writes.response_headers)
        return None

    def at_end(self, stream: FilterStream) -> None:
        check = stream.filter_state.pop(STATE, None)
        if isinstance(check, Check) and check.asking is not None and not check.over:
            check.over = True
            check.asking.cancel()

    # ------------------------------------------------------------------ asking

    def _ask_behind(self, stream: FilterStream, check: Check, partial: bool) -> None:
        """The body is here, as far as it is wanted: the filter waits already."""
        answer = self._ask(stream, check, partial)
        if answer is not WAIT:
            stream.resume(answer)

    def _ask(self, stream: FilterStream, check: Check, partial: bool | None) -> Answer:
        check.began = self._context.now()
        inquiry = self._service.inquiry(stream, self._question(stream, check, partial))

        def told(outcome: Outcome) -> None:
            if check.over:
                return
            check.over = True
            answer = self._judged(stream, check, self._service.verdict(outcome))
            if check.waits:
                stream.resume(answer)
            else:
                check.answer = answer

        check.asking = self._context.ask(inquiry, told)
        if check.over:
            return check.answer
        check.waits = True
        return WAIT

    def _question(self, stream: FilterStream, check: Check, partial: bool | None) -> Question:
        config, context = self._config, self._context
        caller = (stream.request.headers.get(SERVICE_CLUSTER) or b"").decode("latin-1")
        source, destination = peers(
            stream.info,
            service=caller,
            own_uri=context.own_uri,
            certificate=config.peer_certificate,
        )
        body = None
        if partial is not None and self.body is not None:
            body = b"".join(check.taken)[: self.body.max_bytes]
        check.taken = []
        id_ = str(context.random.getrandbits(64))
        began_unix = context.unix_now() - (context.now() - stream.started)
        return Question(
            source,
            destination,
            began_unix,
            http_part(stream, id_, self._tells, body, partial),
            self._extensions,
            _chosen(stream.metadata, config.metadata_namespaces),
            _chosen(stream.route.metadata, config.route_metadata_namespaces)
            if stream.route is not None
            else {},
            stream.info.sni if config.tls_session else None,
            config.raw_headers,
            self.body is not None and self.body.raw,
        )

    # ------------------------------------------------------------------ what came of it

    def _judged(self, stream: FilterStream, check: Check, verdict: Verdict) -> Answer:
        if verdict.metadata and self._config.ingests_metadata:
            self._tell(stream, check, verdict)
        if verdict.kind == "ERROR":
            return self._failed(stream, verdict)
        invalid = self._config.validate_mutations and not is_valid(verdict)
        if verdict.kind == "DENIED":
            return self._denied(stream, verdict, invalid)
        forbidden = self._may_change is not None and self._forbids(verdict)
        if invalid or (forbidden and self._forbidden_is_error):
            return self._invalid(stream)
        if forbidden:
            verdict = self._permitted(verdict)
        self._stats.count(stream, "ok")
        if edit_request(stream.request, verdict) and self._config.clear_route_cache:
            stream.reroute()
        if verdict.response_headers:
            check.response_writes = verdict
        return None

    def _forbids(self, verdict: Verdict) -> bool:
        may = self._may_change
        assert may is not None, "asked only where there are rules"
        names = (*(each.name for each in verdict.headers), *verdict.remove)
        return not all(may(name) for name in names)

    def _permitted(self, verdict: Verdict) -> Verdict:
        may = self._may_change
        assert may is not None, "asked only where there are rules"
        return replace(
            verdict,
            headers=tuple(each for each in verdict.headers if may(each.name)),
            remove=tuple(name for name in verdict.remove if may(name)),
        )

    def _invalid(self, stream: FilterStream) -> Reply:
        self._stats.count(stream, "invalid")
        return explained(self._context, stream, INVALID)

    def _tell(self, stream: FilterStream, check: Check, verdict: Verdict) -> None:
        told = dict(verdict.metadata)
        if verdict.kind == "OK":
            took_s = self._context.now() - check.began
            told["ext_authz_duration"] = int(took_s * 1000)
        stream.metadata.setdefault(NAMESPACE, {}).update(told)

    def _denied(self, stream: FilterStream, verdict: Verdict, invalid: bool) -> Reply:
        self._stats.count(stream, "denied")
        if self._config.charges_cluster:
            self._stats.charge(stream, verdict.status)
        if invalid:
            return self._invalid(stream)
        body, most = verdict.body, self._config.max_denied_body_bytes
        if most:
            body = body[:most]
        headers = Headers()
        edit_headers(headers, verdict.headers)
        reply = Reply(verdict.status, body, "UAEX", "ext_authz_denied", tuple(headers))
        return explained(self._context, stream, reply)

    def _failed(self, stream: FilterStream, verdict: Verdict) -> Answer:
        config = self._config
        self._stats.count(stream, "error")
        if config.failure_mode_allow:
            self._stats.count(stream, "failure_mode_allowed")
            if config.failure_mode_allow_header:
                stream.request.headers.add(ALLOWED_ANYWAY, b"true")
            return None
        status = verdict.status or config.status_on_error
        headers = tuple(
            (each.name.encode(), each.value) for each in verdict.headers if is_safe(each)
        )
        reply = Reply(status, verdict.body, "UAEX", "ext_authz_error", headers)
        return explained(self._context, stream, reply)

    def _off(self, stream: FilterStream) -> Answer:
        """The filter does not apply to this request: it passes, unless that is to be refused."""
        self._stats.count(stream, "disabled")
        config, denies = self._config, self._config.deny_at_disable
        if config.deny_key:
            denies = self._context.runtime.boolean(config.deny_key, denies)
        if not denies:
            return None
        reply = Reply(config.status_on_error, b"", "UAEX", "ext_authz_error")
        return explained(self._context, stream, reply)


def _enabled(
    config: ExtAuthzConfig, context: FilterContext
) -> Callable[[FilterStream], bool] | None:
    """None: always."""
    if config.share is None and config.where is None:
        return None
    drawn = None
    if config.share is not None:
        drawn = match.fraction(config.share, context.random, context.runtime)
    where = match.metadata(config.where) if config.where is not None else None
    return lambda stream: (drawn is None or drawn()) and (where is None or where(stream.metadata))


def _tells(config: ExtAuthzConfig, service_tells: NameTest) -> NameTest:
    """Which headers the service hears of: what the lists of the filter say, else the service's."""
    allowed, disallowed = name_test(config.allowed_headers), name_test(config.disallowed_headers)

    def test(name: str) -> bool:
        if disallowed is not None and disallowed(name):
            return False
        if allowed is not None:
            return allowed(name) or service_tells_always(name)
        return service_tells(name)

    def service_tells_always(name: str) -> bool:
        return name.startswith(":")

    return test


def _chosen(
    metadata: Mapping[str, Mapping[str, object]], namespaces: tuple[str, ...]
) -> Mapping[str, Mapping[str, object]]:
    return {name: metadata[name] for name in namespaces if name in metadata}
