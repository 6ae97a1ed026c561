"""Authorities of which a control plane's rooms are told step by step, as a rotation does."""

from __future__ import annotations

from certs.authority import Authority
from certs.bundle import TrustBundle
from certs.rotation import State
from certs.store import StoredAuthority
from controlplane.ca.live import LiveAuthority


def stored(authority: Authority, *trusted: Authority) -> StoredAuthority:
    """`authority` signs, and `trusted` are trusted too."""
    bundle = authority.bundle
    for other in trusted:
        bundle = TrustBundle((*bundle.roots, *other.bundle.roots))
    return StoredAuthority(authority, bundle, State(authority.id))


def live(authority: Authority, *trusted: Authority) -> LiveAuthority:
    return LiveAuthority(stored(authority, *trusted))
