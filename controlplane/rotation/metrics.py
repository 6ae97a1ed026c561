"""What Prometheus may know of the authority: when it ends, whether it is being replaced, and how
many proxies hold that up. Istio's names where it has one. Everything is looked up when asked for.
"""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Gauge

from certs.rotation import Phase
from certs.x509 import validity
from controlplane.ca.live import LiveAuthority
from controlplane.ca.revocations import Revocations
from controlplane.rotation.conductor import Conductor


def register(
    registry: CollectorRegistry,
    authority: LiveAuthority,
    conductor: Conductor,
    revocations: Revocations,
) -> None:
    """Adds the gauges to `registry`."""

    def gauge(name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=registry)

    gauge(
        "citadel_server_root_cert_expiry_timestamp", "When the root ends (Unix seconds)."
    ).set_function(lambda: validity(authority.authority.root)[1])
    gauge(
        "citadel_server_cert_chain_expiry_timestamp",
        "When the first certificate ends from the one that issues up to the root (Unix seconds).",
    ).set_function(lambda: authority.authority.not_after)
    phases = Gauge(
        "weft_ca_rotation_phase", "1 for the phase of now.", ["phase"], registry=registry
    )
    for phase in Phase:
        phases.labels(str(phase)).set_function(partial(_is, authority, phase))
    gauge("weft_ca_rotation_waiting_proxies", "Proxies that the next step waits for.").set_function(
        lambda: sum(one.holds_up for one in conductor.status().proxies)
    )
    gauge("weft_ca_revocations", "Serial numbers and identities that are revoked.").set_function(
        lambda: len(revocations.all())
    )


def _is(authority: LiveAuthority, phase: Phase) -> bool:
    return authority.stored.state.phase is phase
