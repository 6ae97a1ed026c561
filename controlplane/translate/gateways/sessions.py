"""Gateway API's sessionPersistence -> sessions of the neutral mesh.

Both of its forms: that of the released CRDs (sessionName, cookieConfig) and the newer one (cookie,
header).
"""

from __future__ import annotations

from hashlib import sha256
from math import ceil

from controlplane.kinds.gateway_api.persistence import SessionPersistence
from controlplane.mesh.http_rules import Session
from controlplane.translate.gateways.words import Fault

_DIGITS = 16


def session_of(given: SessionPersistence | None, rule: str) -> Session | Fault | None:
    """rule: its name in the mesh, of which a name is made where none is given.

    A cookie without `absoluteTimeout` ends with the client's session. One with it says Max-Age also
    where its lifetimeType is Session, as Envoy's cookies end by that or never."""
    if given is None:
        return None
    if given.idle_timeout_s is not None:
        why = "proxies don't keep when a client came last; give absoluteTimeout"
        return Fault("UnsupportedValue", f"sessionPersistence.idleTimeout: {why}")
    name = given.name or f"session-{sha256(rule.encode()).hexdigest()[:_DIGITS]}"
    if given.type == "Cookie":
        return Session("cookie", name, given.path, ceil(given.absolute_timeout_s or 0))
    if given.absolute_timeout_s is not None:
        why = "only a cookie has a lifetime"
        return Fault("UnsupportedValue", f"sessionPersistence.absoluteTimeout: {why}")
    return Session("header", name)
