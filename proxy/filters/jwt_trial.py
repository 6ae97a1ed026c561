"""Holds one request against what is demanded of its tokens.

    requirement -> its parts in order -> each: the tokens in its places, one after the other

A trial may have to wait for keys: then it says for whose, and is run again when they are here.
What was found out before is kept, so that nothing is done to the request twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from certs.jwt_token import MISSING, UNKNOWN_ISSUER, Jwt, JwtError, comparable
from proxy.config.model import jwt as model
from proxy.filters.jwt_key_source import RemoteKeys
from proxy.filters.jwt_places import Places, Token
from proxy.filters.jwt_provider import Provider
from proxy.filters.jwt_status import FETCH_FAILS, NO_VALID_KEYS, OK, code
from proxy.http.message import Request
from proxy.stats import Counter

Verdict = str | RemoteKeys
"""OK, why not, or whose keys must be waited for."""


class Providers:
    """All of a filter. hits, misses: of the caches for tokens."""

    def __init__(self, providers: Sequence[Provider], hits: Counter, misses: Counter) -> None:
        self.all = tuple(providers)
        self.by_name = {each.config.name: each for each in providers}
        self.hits = hits
        self.misses = misses
        self._writes = frozenset(name for each in providers for name in each.writes)
        self.only = providers[0] if len(providers) == 1 else None

    def clean(self, request: Request) -> None:
        """Takes out what only a provider may have written, whichever will be asked."""
        for name in self._writes:
            request.headers.remove(name)

    def of_issuer(self, issuer: str) -> Provider | None:
        """Of a token that names no provider: the first of its issuer, else one that takes all."""
        for wanted in (issuer, ""):
            for each in self.all:
                if each.config.issuer == wanted:
                    return each
        return None


class Trial:
    """What is known of one request by now. told: metadata, by its key. reroutes: a header was
    written that routes may look at. results, left: by part. answered: whose keys were waited for,
    and whether they came. begun: the token that waits for them. path: as the client asked. by: the
    name of the provider whose token failed last."""

    __slots__ = (
        "answered", "begun", "by", "left", "path", "request", "reroutes", "results", "told",
        "unix_now",
    )  # fmt: skip

    def __init__(self, request: Request, unix_now: float) -> None:
        self.request = request
        self.path = request.path
        self.unix_now = unix_now
        self.told: dict[str, Any] = {}
        self.reroutes = False
        self.results: dict[int, str] = {}
        self.left: dict[int, list[Token]] = {}
        self.answered: dict[int, bool] = {}
        self.begun: Jwt | None = None
        self.by = ""


class Leaf:
    """Tokens in some places, of one provider or of any. takes_missing: none is fine, too.
    takes_failed: a bad one as well."""

    def __init__(
        self,
        providers: Providers,
        provider: Provider | None,
        audiences: tuple[str, ...] | None = None,
        *,
        takes_missing: bool = False,
        takes_failed: bool = False,
    ) -> None:
        self._providers = providers
        self._provider = provider
        self._audiences = comparable(audiences) if audiences else None
        self._takes_missing = takes_missing
        self._takes_failed = takes_failed
        those = (provider,) if provider is not None else providers.all
        self._places = Places(each.config for each in those)

    def run(self, trial: Trial) -> Verdict:
        known = trial.results.get(id(self))
        if known is not None:
            return known
        tokens = trial.left.get(id(self))
        if tokens is None:
            self._places.clean(trial.request)
            tokens = trial.left[id(self)] = self._places.find(trial.request)
            if not tokens:
                self._note(trial, MISSING, self._provider)
                return self._end(trial, MISSING)
        return self._run(trial, tokens)

    def _run(self, trial: Trial, tokens: list[Token]) -> Verdict:
        """The last token first (Envoy). All must be good: else a bad one that nobody asked for
        would pass beside a good one."""
        status = OK
        while tokens:
            verdict = self._try(trial, tokens[-1])
            if isinstance(verdict, RemoteKeys):
                return verdict
            tokens.pop()
            status = verdict
            if status != OK and not self._takes_missing and not self._takes_failed:
                break
        return self._end(trial, status)

    def _end(self, trial: Trial, status: str) -> str:
        if self._takes_failed or (self._takes_missing and status == MISSING):
            status = OK
        trial.results[id(self)] = status
        return status

    def _note(self, trial: Trial, status: str, provider: Provider | None) -> str:
        """Why it failed, into the metadata if its provider wants it there."""
        one = provider or self._providers.only
        if one is not None and status not in (MISSING, UNKNOWN_ISSUER):
            trial.by = one.config.name
        if one is not None and one.config.failed_status_in_metadata:
            told = {"code": code(status), "message": status}
            trial.told[one.config.failed_status_in_metadata] = told
        return status

    def _try(self, trial: Trial, token: Token) -> Verdict:
        provider = self._provider
        begun, trial.begun = trial.begun, None
        known = None if begun is not None else self._cached(token.text)
        try:
            jwt = begun or known or Jwt(token.text)
        except JwtError as error:
            return self._note(trial, str(error), provider)
        if not token.may_be_of(jwt.issuer):
            return self._note(trial, UNKNOWN_ISSUER, provider)
        provider = provider or self._providers.of_issuer(jwt.issuer)
        if provider is None:
            return self._note(trial, UNKNOWN_ISSUER, None)
        why = provider.objection(jwt, self._audiences, trial.unix_now)
        if why == OK and known is None:
            verdict = _proven(trial, provider, jwt)
            if isinstance(verdict, RemoteKeys):
                trial.begun = jwt
                return verdict
            why = verdict
        if why != OK:
            return self._note(trial, why, provider)
        if provider.accept(jwt, token, trial.request, trial.told):
            trial.reroutes = True
        if known is None:
            self._keep(token.text, jwt)
        return OK

    def _cached(self, text: str) -> Jwt | None:
        """Only of a named provider (Envoy)."""
        if self._provider is None:
            return None
        cache = self._provider.cache
        known = cache.get(text) if cache is not None else None
        counter = self._providers.misses if known is None else self._providers.hits
        counter.value += 1
        return known

    def _keep(self, text: str, jwt: Jwt) -> None:
        if self._provider is None or self._provider.cache is None:
            return
        if len(text) <= self._provider.config.max_token_bytes:
            self._provider.cache.keep(text, jwt)


def _proven(trial: Trial, provider: Provider, jwt: Jwt) -> Verdict:
    """Is it signed by one of the provider's keys?"""
    source = provider.source
    keys = source.keys()
    if keys is None and isinstance(source, RemoteKeys):
        came = trial.answered.get(id(source))
        if came is None:
            return source
        if not came:
            return FETCH_FAILS
        keys = source.fetched()
    if keys is None:
        return NO_VALID_KEYS
    try:
        keys.verify(jwt)
    except JwtError as error:
        return str(error)
    return OK


class AnyPart:
    """One of several; a word that allows missing (or failed) tokens applies to all of them."""

    def __init__(self, parts: Sequence[Part], takes_missing: bool, takes_failed: bool) -> None:
        self._parts = tuple(parts)
        self._takes_missing = takes_missing
        self._takes_failed = takes_failed

    def run(self, trial: Trial) -> Verdict:
        status = MISSING
        for part in self._parts:
            verdict = part.run(trial)
            if isinstance(verdict, RemoteKeys) or verdict == OK:
                return verdict
            # What is wrong with a token says more than that there is none of this kind.
            if verdict not in (MISSING, UNKNOWN_ISSUER) or status == MISSING:
                status = verdict
        if self._takes_failed or (self._takes_missing and status == MISSING):
            return OK
        return status


class AllParts:
    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = tuple(parts)

    def run(self, trial: Trial) -> Verdict:
        for part in self._parts:
            verdict = part.run(trial)
            if verdict != OK:
                return verdict
        return OK


Part = Leaf | AnyPart | AllParts


def compiled(needs: model.Requirement, providers: Providers) -> Part:
    if isinstance(needs, model.FromProvider):
        return Leaf(providers, providers.by_name[needs.name], needs.audiences)
    if isinstance(needs, model.AllOf):
        return AllParts([compiled(each, providers) for each in needs.requirements])
    if isinstance(needs, model.AnyOf):
        return _any(needs, providers)
    failed = isinstance(needs, model.AllowMissingOrFailed)
    return Leaf(providers, None, takes_missing=True, takes_failed=failed)


def _any(needs: model.AnyOf, providers: Providers) -> Part:
    """The words that allow something are no parts of their own, unless there are no others."""
    words = model.AllowMissing | model.AllowMissingOrFailed
    parts = [each for each in needs.requirements if not isinstance(each, words)]
    failed = any(isinstance(each, model.AllowMissingOrFailed) for each in needs.requirements)
    missing = any(isinstance(each, model.AllowMissing) for each in needs.requirements)
    if not parts:
        return Leaf(providers, None, takes_missing=True, takes_failed=failed)
    return AnyPart([compiled(each, providers) for each in parts], missing, failed)


def all_compiled(
    named: Mapping[str, model.Requirement], providers: Providers
) -> Mapping[str, Part]:
    return {name: compiled(needs, providers) for name, needs in named.items()}
