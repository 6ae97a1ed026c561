"""`envoy.filters.http.jwt_authn`: only requests with the right JSON Web Tokens pass.

The first rule that takes a request says what is demanded of it; a route may name another
requirement. What good tokens say is left in the dynamic metadata of this filter's name, for access
rules and the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from certs.jwt_token import AUDIENCE_NOT_ALLOWED, MISSING
from proxy.config.filters.decode_jwt_authn import TYPE_URL
from proxy.config.model.jwt import (
    FilterStateRule,
    JwtAuthnConfig,
    JwtAuthnPerRoute,
    JwtProvider,
)
from proxy.denials import EXPLAINED, of_request
from proxy.filters.api import WAIT, Answer, Filter, FilterContext, FilterStream, Hooks, Reply
from proxy.filters.jwt_key_source import KeySource, LocalKeys, RemoteKeys
from proxy.filters.jwt_provider import Provider, UnwritableClaim
from proxy.filters.jwt_status import OK
from proxy.filters.jwt_trial import Part, Providers, Trial, all_compiled, compiled
from proxy.http.message import Request

NAMESPACE = "envoy.filters.http.jwt_authn"
ACTION = "AUTHENTICATE"
MAX_PATH_BYTES = 256
Choose = Callable[[FilterStream], Part | None]

__all__ = ["TYPE_URL", "build"]


def build(config: JwtAuthnConfig, context: FilterContext) -> Filter:
    return JwtAuthn(config, context)


class JwtAuthn:
    def __init__(self, config: JwtAuthnConfig, context: FilterContext) -> None:
        self._config = config
        self._context = context
        between = f"{config.stat_prefix}." if config.stat_prefix else ""
        self._prefix = f"{context.stat_prefix}jwt_authn.{between}"
        self._allowed = context.stats.counter(f"{self._prefix}allowed")
        self._denied = context.stats.counter(f"{self._prefix}denied")
        self._bypassed = context.stats.counter(f"{self._prefix}cors_preflight_bypassed")
        self._providers = self._made()
        self._named = all_compiled(config.named, self._providers)
        self._choose = _chooser(config, self._providers, context)

    def _made(self) -> Providers:
        stats, prefix = self._context.stats, self._prefix
        return Providers(
            [Provider(each, self._source(each)) for each in self._config.providers],
            stats.counter(f"{prefix}jwt_cache_hit"),
            stats.counter(f"{prefix}jwt_cache_miss"),
        )

    def _source(self, provider: JwtProvider) -> KeySource:
        stats, prefix = self._context.stats, self._prefix
        good = stats.counter(f"{prefix}jwks_fetch_success")
        failed = stats.counter(f"{prefix}jwks_fetch_failed")
        if provider.remote is None:
            return LocalKeys(provider.local_jwks or b"")
        return RemoteKeys(provider.remote, self._context, good, failed)

    def for_route(self, overrides: tuple[object, ...]) -> Hooks | None:
        choose = self._choose
        if overrides:
            override = overrides[0]
            assert isinstance(override, JwtAuthnPerRoute)
            if override.disabled:
                return Hooks(on_request=self._let_in)
            if override.requirement_name not in self._named:
                return Hooks(on_request=self._without_requirement(override.requirement_name))
            part = self._named[override.requirement_name]
            choose = lambda _: part  # noqa: E731
        return Hooks(on_request=self._step(choose), at_end=_forget)

    def _without_requirement(self, name: str) -> Callable[[FilterStream], Answer]:
        """The route calls for what the filter does not have (Envoy)."""
        known = ",".join(sorted(self._named))
        why = f"Wrong requirement_name: {name}. It should be one of [{known}]"

        def deny(stream: FilterStream) -> Answer:
            self._denied.value += 1
            detail = f"jwt_authn_access_denied{{{why.replace(' ', '_')}}}"
            self._note(stream, "", "", why)
            return Reply(403, f"Failed JWT authentication: {why}".encode(), detail=detail)

        return deny

    def _let_in(self, stream: FilterStream) -> Answer:
        """Who needs no token has no claims either (Envoy cleans before it looks at the route)."""
        self._providers.clean(stream.request)
        return self._allow(stream)

    def _allow(self, stream: FilterStream) -> Answer:
        self._allowed.value += 1
        return None

    def _step(self, choose: Choose) -> Callable[[FilterStream], Answer]:
        bypasses, unix_now = self._config.bypass_cors_preflight, self._context.unix_now

        clean = self._providers.clean

        def step(stream: FilterStream) -> Answer:
            clean(stream.request)
            if bypasses and _is_preflight(stream.request):
                self._bypassed.value += 1
                return self._allow(stream)
            part = choose(stream)
            if part is None:
                return self._allow(stream)
            return self._judge(stream, part, Trial(stream.request, unix_now()))

        return step

    # ------------------------------------------------------------------ one request

    def _judge(self, stream: FilterStream, part: Part, trial: Trial) -> Answer:
        try:
            verdict = part.run(trial)
        except UnwritableClaim as claim:
            self._allowed.value += 1  # the token is good (Envoy)
            return _unwritable(claim.header)
        if isinstance(verdict, RemoteKeys):
            return self._wait(stream, part, trial, verdict)
        if trial.told:
            stream.metadata.setdefault(NAMESPACE, {}).update(trial.told)
        if trial.reroutes:
            stream.reroute()
        if verdict == OK:
            self._allowed.value += 1
            return None
        self._denied.value += 1
        return self._refusal(stream, trial, verdict)

    def _wait(self, stream: FilterStream, part: Part, trial: Trial, source: RemoteKeys) -> Answer:
        """The keys may be here before `fetch` returns: then nobody waits."""
        waiting = False

        def then(came: bool) -> None:
            trial.answered[id(source)] = came
            if waiting and stream.filter_state.pop(NAMESPACE, None) is not None:
                stream.resume(self._judge(stream, part, trial))

        source.fetch(then)
        if id(source) in trial.answered:
            return self._judge(stream, part, trial)
        waiting = True
        stream.filter_state[NAMESPACE] = (source, then)
        return WAIT

    def _refusal(self, stream: FilterStream, trial: Trial, why: str) -> Reply:
        body = why.encode() + self._explained(stream, trial, why)
        status = 403 if why == AUDIENCE_NOT_ALLOWED else 401
        detail = f"jwt_authn_access_denied{{{why.replace(' ', '_')}}}"
        if self._config.strip_failure_response:
            return Reply(status, detail=detail)
        challenge = b'Bearer realm="%b"' % _uri(trial)
        if why != MISSING:
            challenge += b', error="invalid_token"'
        headers = ((b"www-authenticate", challenge),)
        return Reply(status, body, detail=detail, headers=headers)

    def _explained(self, stream: FilterStream, trial: Trial, why: str) -> bytes:
        """Notes whose demand was not met, where one policy's it was; answers what the client may
        hear of it."""
        only, known = self._providers.only, self._context.explanations
        provider = trial.by or (only.config.name if only is not None else "")
        policy, source = known.tokens.get(provider, (provider, ""))
        self._note(stream, policy, source, why)
        if source:
            stream.metadata[EXPLAINED] = {"policy": policy, "source": source}
        return f"; see {policy} ({source})".encode() if source and known.tells else b""

    def _note(self, stream: FilterStream, policy: str, source: str, why: str) -> None:
        now = self._context.unix_now()
        denial = of_request(stream.request, stream.info, now, self._prefix, ACTION)
        denial.policy, denial.source, denial.reason = policy, source, why
        self._context.denials.note(denial)


def _unwritable(header: str) -> Reply:
    """What Envoy answers when it comes to write the head. Without the header the request would look
    like one whose token has no such claim."""
    why = f"invalid header value for: {header}"
    detail = f"filter_removed_required_request_headers{{{why.replace(' ', '_')}}}"
    return Reply(503, why.encode(), "DPE", detail)


def _forget(stream: FilterStream) -> None:
    """A request that ended while it waited for keys."""
    waiting = stream.filter_state.pop(NAMESPACE, None)
    if waiting is not None:
        source, then = waiting
        source.forget(then)


def _chooser(config: JwtAuthnConfig, providers: Providers, context: FilterContext) -> Choose:
    """The first rule that takes a request decides, even if it demands nothing; without any, the
    filter state."""
    rules = [
        (context.route_match(rule.match), compiled(rule.needs, providers) if rule.needs else None)
        for rule in config.rules
    ]
    by_state = config.by_filter_state
    named = all_compiled(by_state.needs, providers) if by_state is not None else {}

    def choose(stream: FilterStream) -> Part | None:
        for matches, part in rules:
            if matches is None or matches(stream.request, stream):
                return part
        return _of_state(stream, by_state, named) if by_state is not None else None

    return choose


def _of_state(
    stream: FilterStream, rule: FilterStateRule, named: Mapping[str, Part]
) -> Part | None:
    value = stream.filter_state.get(rule.key)
    return None if value is None else named.get(str(value))


def _is_preflight(request: Request) -> bool:
    headers = request.headers
    return (
        request.method == b"OPTIONS"
        and bool(headers.get(b"origin"))
        and bool(headers.get(b"access-control-request-method"))
    )


def _uri(trial: Trial) -> bytes:
    """What the client asked for, as far as it knows."""
    request = trial.request
    path = request.headers.get(b"x-envoy-original-path") or trial.path
    return b"%b://%b%b" % (request.scheme, request.authority, path[:MAX_PATH_BYTES])
