"""What the certificate service counts, under Citadel's names where it has one.

`weft_ca_refused_total{reason}` tells each kind of refusal apart. No label holds what a caller said.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class CaMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter("citadel_server_csr", "CSRs that came.", registry=registry)
        self._issued = Counter(
            "citadel_server_success_cert_issuance", "Certificates issued.", registry=registry
        )
        self._unauthenticated = Counter(
            "citadel_server_authentication_failure",
            "Requests without accepted credentials.",
            registry=registry,
        )
        self._refused = Counter(
            "weft_ca_refused", "Requests refused, by reason.", ["reason"], registry=registry
        )

    def requested(self) -> None:
        self._requests.inc()

    def issued(self) -> None:
        self._issued.inc()

    def refused(self, reason: str, *, unauthenticated: bool) -> None:
        self._refused.labels(reason).inc()
        if unauthenticated:
            self._unauthenticated.inc()
