"""`envoy.filters.network.ext_authz`: another service says whether a connection may pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy import match
from proxy.authz.question import Question, peers
from proxy.config.model.ext_authz import NetworkExtAuthz
from proxy.denials import Denials
from proxy.filters.ext_authz_denials import note_connection
from proxy.filters.ext_authz_service import GrpcAuthz
from proxy.http.inquiry import Ask, Outcome
from proxy.l4.guard import Cancel, Told, TurnedAway, Visitor
from proxy.outbox import flush
from proxy.stats import Stats

NAMESPACE = "envoy.filters.network.ext_authz"
COUNTERS = ("cx_closed", "denied", "disabled", "error", "failure_mode_allowed", "ok", "total")
REFUSED = TurnedAway("UAEX", "ext_authz_denied")
FAILED = TurnedAway("UAEX", "ext_authz_error")
Format = Callable[[str], Callable[[Any], bytes]]


class ExtAuthzGuard:
    """Envoy's `ext_authz.<stat_prefix>.*`. own_uri: of the certificate that clients see."""

    def __init__(
        self,
        config: NetworkExtAuthz,
        stats: Stats,
        ask: Ask,
        format: Format,
        own_uri: str,
        denials: Denials,
        unix_now: Callable[[], float],
    ) -> None:
        self._config = config
        self._ask = ask
        self._own_uri = own_uri
        self._denials = denials
        self._unix_now = unix_now
        self._service = GrpcAuthz(config.service, format)
        self._where = match.metadata(config.where) if config.where is not None else None
        prefix = self._prefix = f"ext_authz.{config.stat_prefix}."
        self._counters = {name: stats.counter(prefix + name) for name in COUNTERS}
        self._active = stats.gauge(f"{prefix}active")

    def judge(self, visitor: Visitor, told: Told) -> Cancel | None:
        if self._where is not None and not self._where(visitor.metadata):
            self._count("disabled")
            told(None)
            return None
        self._count("total")
        self._active.value += 1
        over = False

        def on_outcome(outcome: Outcome) -> None:
            nonlocal over
            over = True
            self._active.value -= 1
            told(self._verdict(visitor, outcome))

        asking = self._ask(self._service.inquiry(visitor, self._question(visitor)), on_outcome)
        flush()  # no request's turn ends here, which would do it
        if over:
            return None

        def cancel() -> None:
            self._active.value -= 1
            asking.cancel()

        return cancel

    def _question(self, visitor: Visitor) -> Question:
        config, info = self._config, visitor.info
        source, destination = peers(
            info, own_uri=self._own_uri, certificate=config.peer_certificate
        )
        known = visitor.metadata
        return Question(
            source,
            destination,
            metadata={name: known[name] for name in config.metadata_namespaces if name in known},
            sni=info.sni if config.tls_session else None,
        )

    def _verdict(self, visitor: Visitor, outcome: Outcome) -> TurnedAway | None:
        verdict = self._service.verdict(outcome)
        if verdict.metadata:
            visitor.metadata.setdefault(NAMESPACE, {}).update(verdict.metadata)
        if verdict.kind == "OK":
            self._count("ok")
            return None
        if verdict.kind == "ERROR":
            self._count("error")
            if self._config.failure_mode_allow:
                self._count("failure_mode_allowed")
                return None
        else:
            self._count("denied")
        self._count("cx_closed")
        away = REFUSED if verdict.kind == "DENIED" else FAILED
        now, info = self._unix_now(), visitor.info
        why = away.detail
        note_connection(self._denials, now, self._prefix, info, visitor.metadata, why)
        return away

    def _count(self, name: str) -> None:
        self._counters[name].value += 1
