"""What TLS may be, beside who speaks it."""

from __future__ import annotations

from protos.frozen import frozen


@frozen
class TlsLimits:
    """only_tls13: nothing older is spoken. ciphers (of TLS 1.2, in Envoy's words) and curves: those
    that may be used, () for the proxy's own choice."""

    only_tls13: bool = False
    ciphers: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()


NO_LIMITS = TlsLimits()
