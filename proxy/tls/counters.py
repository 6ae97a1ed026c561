"""Statistics of TLS under Envoy's names, of a listener or a cluster: `ssl.handshake` ..."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.connection import PeerCertificate
from proxy.stats import Counter, Stats
from proxy.tls.failure import CHAIN, CONNECTION, NAMES, NO_CERTIFICATE, PIN, TlsFailed

if TYPE_CHECKING:
    from proxy.tls.session import Session


class TlsCounters:
    """Those of what was negotiated come to be with the first connection that did."""

    __slots__ = (
        "_agreed",
        "_base",
        "_failures",
        "_handshake",
        "_no_certificate",
        "_reused",
        "_stats",
    )

    def __init__(self, stats: Stats, prefix: str) -> None:
        """prefix: 'listener.127.0.0.1_80.', 'cluster.x.'."""
        self._stats = stats
        self._agreed: dict[tuple[str, str, str, str], list[Counter]] = {}
        self._base = base = f"{prefix}ssl."
        self._handshake = stats.counter(base + "handshake")
        self._reused = stats.counter(base + "session_reused")
        self._no_certificate = stats.counter(base + "no_certificate")
        names = (CONNECTION, NO_CERTIFICATE, CHAIN, NAMES, PIN)
        self._failures = {name: stats.counter(base + name) for name in names}

    def established(self, session: Session, peer: PeerCertificate | None) -> None:
        """peer: what it has shown. How it has signed is not told by OpenSSL: it is counted where
        its key and TLS 1.3 leave no choice."""
        self._handshake.value += 1
        self._reused.value += session.resumed
        self._no_certificate.value += peer is None
        version = session.version
        scheme = peer.scheme if peer is not None and version == "TLSv1.3" else ""
        agreed = (session.cipher, version, session.group, scheme)
        counters = self._agreed.get(agreed)
        if counters is None:
            counters = self._agreed[agreed] = self._of(*agreed)
        for counter in counters:
            counter.value += 1
        if session.refusal.why:
            self.refused(session)

    def _of(self, cipher: str, version: str, group: str, scheme: str) -> list[Counter]:
        """OpenSSL knows but a few of each."""
        names = [f"ciphers.{cipher}", f"versions.{version}"]
        if group:
            names.append(f"curves.{group}")
        if scheme:
            names.append(f"sigalgs.{scheme}")
        return [self._stats.counter(self._base + name) for name in names]

    def ended(self, session: Session) -> None:
        """A handshake, well or not: has its client asked for an OCSP response? Few do."""
        if session.stapled:
            for name in ("requests", session.stapled):
                self._stats.counter(f"{self._base}ocsp_staple_{name}").value += 1

    def refused(self, session: Session) -> None:
        """A certificate that was no good and yet let in (ACCEPT_UNTRUSTED) counts as such."""
        if session.refusal.statistic:
            self._failures[session.refusal.statistic].value += 1

    def failed(self, failure: TlsFailed) -> None:
        if failure.statistic:
            self._failures[failure.statistic].value += 1
