"""The issuers whose keys the configuration leaves to OpenID discovery, and the loop that keeps
their keys fresh.

Nobody waits for it: what is known is put into the rules of a mesh, and when more is known the mesh
is made again. An issuer without keys has none: each of its tokens is refused.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from controlplane.mesh.model import Status
from controlplane.mesh.policy import Security, TokenPolicy, TokenRule
from controlplane.openid.fetch import Fetch, FetchError
from controlplane.openid.followed import Followed, Severity
from controlplane.openid.shelf import Shelf
from controlplane.rounds import Rounds

log = logging.getLogger("weft.controlplane.openid")

Said = tuple[Severity, str, str]
"""Severity, code and message of a status."""

MAX_ISSUERS = 1000


class Discovery:
    """`configure` after each change of the configuration, in the loop; `run` until cancelled.

    changed is called when keys or statuses are others."""

    def __init__(
        self,
        fetch: Fetch,
        shelf: Shelf,
        changed: Callable[[], None],
        *,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._fetch = fetch
        self._shelf = shelf
        self._changed = changed
        self._clock = clock
        self._jitter = jitter
        self._rounds = Rounds("keys", self._due, self._refresh, clock)
        self._told: dict[str, Said] = {}
        self._filled: tuple[Security, dict[str, str], Security] | None = None
        self.followed: dict[str, Followed] = {}

    def configure(self, security: Security) -> Security:
        """Follows the issuers of these rules and no others; the rules with the keys that are known.
        The same again while nothing has changed."""
        wanted = _issuers(security)
        for issuer in self.followed.keys() - wanted.keys():
            del self.followed[issuer]
        for issuer, timeout_s in wanted.items():
            if issuer in self.followed:
                self.followed[issuer].timeout_s = timeout_s
            else:
                self.followed[issuer] = self._follow(issuer, timeout_s)
        self._rounds.wake()
        return self._with_keys(security)

    def _with_keys(self, security: Security) -> Security:
        keys = {name: one.keys.text for name, one in self.followed.items() if one.keys is not None}
        if self._filled is None or self._filled[0] is not security or self._filled[1] != keys:
            tokens = tuple(_with_keys(policy, keys) for policy in security.tokens)
            filled = replace(security, tokens=tokens) if keys else security
            self._filled = security, keys, filled
        return self._filled[2]

    def statuses(self, security: Security) -> tuple[Status, ...]:
        """What there is to say of each rule that leaves its keys to discovery."""
        now = self._clock()
        said = {issuer: one.said(now) for issuer, one in self.followed.items()}
        self._told = said
        return tuple(_statuses(security, said))

    def _follow(self, issuer: str, timeout_s: float) -> Followed:
        followed = Followed(issuer, timeout_s, self._clock())
        known = self._shelf.get(issuer)
        if known is not None:
            followed.remembered(*known)
        return followed

    # ------------------------------------------------------------------ the loop

    async def run(self) -> None:
        await self._rounds.run()

    def _due(self) -> Iterator[tuple[str, float]]:
        return ((issuer, one.due_at) for issuer, one in self.followed.items())

    async def _refresh(self, issuer: str) -> None:
        followed = self.followed.get(issuer)
        if followed is None:
            return  # it was taken out meanwhile
        try:
            url, keys = await self._fetch(issuer, followed.timeout_s)
            if followed.got(url, keys, self._clock(), self._jitter()):
                log.info("the keys of %s are others now, from %s", issuer, url)
            if followed.keys is not None and self._is_followed(followed):
                await asyncio.to_thread(self._shelf.put, issuer, followed.keys, followed.got_at)
        except FetchError as error:
            self._failed(followed, str(error))
        except Exception as error:
            # Our own mistake, which a foreign document can reach: asked again, but not at once.
            log.exception("looking up the keys of %s", issuer)
            self._failed(followed, f"{type(error).__name__}: {error}")
        if self._is_followed(followed) and self._told.get(issuer) != followed.said(self._clock()):
            self._changed()

    def _failed(self, followed: Followed, reason: str) -> None:
        if followed.keys is not None and followed.error != reason:
            # Those that are known stay; where there are none, the status says so.
            log.warning("the keys of %s can't be looked up again: %s", followed.issuer, reason)
        followed.failed(reason, self._clock(), self._jitter())

    def _is_followed(self, followed: Followed) -> bool:
        return self.followed.get(followed.issuer) is followed


def _issuers(security: Security) -> dict[str, float]:
    """Those to ask, each with the longest timeout that a rule gives it."""
    found: dict[str, float] = {}
    for policy in security.tokens:
        for rule in policy.rules:
            if rule.discovers and (rule.issuer in found or len(found) < MAX_ISSUERS):
                found[rule.issuer] = max(found.get(rule.issuer, 0.0), rule.timeout_s)
    return found


def _with_keys(policy: TokenPolicy, keys: dict[str, str]) -> TokenPolicy:
    if not any(rule.discovers and rule.issuer in keys for rule in policy.rules):
        return policy
    rules = tuple(_filled(rule, keys) for rule in policy.rules)
    return replace(policy, rules=rules)


def _filled(rule: TokenRule, keys: dict[str, str]) -> TokenRule:
    if not rule.discovers or rule.issuer not in keys:
        return rule
    return replace(rule, jwks=keys[rule.issuer], discovers=False)


def _statuses(security: Security, said: dict[str, Said]) -> Iterator[Status]:
    for policy in security.tokens:
        for index, rule in enumerate(policy.rules):
            if not rule.discovers:
                continue
            severity, code, message = said.get(rule.issuer) or (
                "error",
                "NoKeys",
                f"more than {MAX_ISSUERS} issuers leave their keys to OpenID discovery: the tokens "
                f"of {rule.issuer!r} are refused; set jwksUri",
            )
            name = f"RequestAuthentication {policy.namespace}/{policy.name}"
            where = f"spec.jwtRules[{index}]: {message}"
            yield Status(rule.position, severity, code, name, where)
