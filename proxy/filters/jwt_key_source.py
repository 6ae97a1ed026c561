"""The keys of one provider: given with the configuration, or fetched and kept for a while.

A fetch is shared by all who wait for it. Where keys are to be there before anybody asks, they are
fetched when the filter is made, and anew by the first request that finds them near their end; that
request does not wait. Such keys outlive their end while their server gives no others (Envoy).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from certs.errors import CertificateError
from proxy.config.model.jwt import RemoteJwks
from proxy.filters.api import FilterContext
from proxy.http.headers import Headers
from proxy.http.inquiry import Inquiry, Outcome
from proxy.http.message import Request
from proxy.stats import Counter

if TYPE_CHECKING:
    from certs.jwt_keys import KeySet

# How long before its end a set is fetched anew (Envoy's asynchronous fetch).
AHEAD_S = 5.0
MAX_JWKS_BYTES = 1024 * 1024
SUCCESS = 200
_HEADERS = ((b"user-agent", b"Go-browser"),)  # as Envoy asks, since some servers want one


def parsed(text: bytes) -> KeySet | None:
    """None if there is no usable key in it."""
    from certs.jwt_keys import KeySet  # cryptography: only where it is needed

    try:
        return KeySet.parse(text)
    except CertificateError:
        return None


class LocalKeys:
    """Keys that never change."""

    def __init__(self, text: bytes) -> None:
        self._keys = parsed(text)

    def keys(self) -> KeySet | None:
        return self._keys


class RemoteKeys:
    """Keys that somebody else serves. good, failed: how many fetches went well, and did not."""

    def __init__(
        self, config: RemoteJwks, context: FilterContext, good: Counter, failed: Counter
    ) -> None:
        self._config = config
        self._context = context
        self._good = good
        self._failed = failed
        self._keys: KeySet | None = None
        self._until = 0.0
        self._not_before = 0.0
        self._waiting: list[Callable[[bool], None]] = []
        self._asking = False
        if config.ahead:
            context.call_later(0.0, self._refresh)

    def keys(self) -> KeySet | None:
        """None: they must be fetched first."""
        now = self._context.now()
        if self._keys is None:
            return None
        if now >= self._until:
            just_failed = self._config.ahead and now < self._not_before
            return self._keys if just_failed else None
        if self._config.ahead and now >= self._until - AHEAD_S and now >= self._not_before:
            self._refresh()
        return self._keys

    def fetch(self, then: Callable[[bool], None]) -> None:
        """then: called once, with whether there are keys now; perhaps at once."""
        self._waiting.append(then)
        self._refresh()

    def forget(self, then: Callable[[bool], None]) -> None:
        """Who waited does no more."""
        if then in self._waiting:
            self._waiting.remove(then)

    def fetched(self) -> KeySet | None:
        """What a fetch has just brought, however short it may be kept."""
        return self._keys

    def _refresh(self) -> None:
        if self._asking:
            return
        self._asking = True
        uri = self._config.uri
        request = Request(b"GET", uri.path.encode(), uri.authority.encode(), Headers.of(_HEADERS))
        self._context.ask(
            Inquiry(
                uri.cluster,
                request,
                timeout_s=uri.timeout_s,
                repeats=self._config.repeats,
                max_answer_bytes=MAX_JWKS_BYTES,
            ),
            self._on_outcome,
        )

    def _on_outcome(self, outcome: Outcome) -> None:
        self._asking = False
        found = parsed(outcome.body) if outcome.status == SUCCESS else None
        now = self._context.now()
        if found is None:
            self._failed.value += 1
            self._not_before = now + self._config.again_s
        else:
            self._good.value += 1
            self._keys, self._until = found, now + self._config.cache_s
        there = found is not None or (self._config.ahead and self._keys is not None)
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(there)


KeySource = LocalKeys | RemoteKeys
