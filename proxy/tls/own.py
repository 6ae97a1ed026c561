"""The certificates that we show: which one to whom, and what is told of them when a peer refuses.

Knows how to choose; how a context is made is told by whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from proxy.config.model import TlsCertificate
from proxy.connection import PeerCertificate
from proxy.tls.build import leaf_of
from proxy.tls.names import dns_name_matches
from proxy.tls.openssl import choose_by_name
from proxy.tls.peer import certificate_facts
from proxy.tls.verify import date_of, described

Named = tuple[str, TlsCertificate]
Make = Callable[[list[Named]], SSL.Context]


class OwnCertificates:
    """context: of the first certificate of each kind of key, which is shown to whoever names none
    of the others (Envoy's choice by SNI, without `full_scan_certs_on_sni_mismatch`)."""

    __slots__ = ("_by_name", "context", "facts")

    def __init__(self, certificates: Sequence[Named], make: Make) -> None:
        """make: a context with certificates of keys of different kinds."""
        first = _one_of_each_kind(certificates)
        self.context = make(first)
        self.facts = tuple(_facts(each) for each in certificates)
        self._by_name: list[tuple[frozenset[str], SSL.Context]] = []
        if len(first) < len(certificates):
            self._sort_out(certificates, make)
            choose_by_name(self.context, self._choose)

    @classmethod
    def of_client(cls, certificates: Sequence[Named]) -> OwnCertificates:
        """A client has no choice."""
        own = cls.__new__(cls)
        own.facts = tuple(_facts(each) for each in certificates)
        own._by_name = []
        return own

    def told(self) -> str:
        """Which one a peer may have refused."""
        return "; ".join(map(_with_end, self.facts)) or "none"

    @property
    def uri(self) -> bytes:
        """The first URI of the first one: `By=` of `x-forwarded-client-cert`."""
        uris = self.facts[0].uri_sans if self.facts else ()
        return uris[0].encode() if uris else b""

    def _sort_out(self, certificates: Sequence[Named], make: Make) -> None:
        groups: dict[frozenset[str], list[Named]] = {}
        for (origin, certificate), facts in zip(certificates, self.facts, strict=True):
            names = frozenset(name.lower() for name in facts.dns_sans)
            groups.setdefault(names, []).append((origin, certificate))
        for names, some in groups.items():
            self._by_name.append((names, make(_one_of_each_kind(some))))

    def _choose(self, asked: str) -> SSL.Context | None:
        exact = [context for names, context in self._by_name if asked in names]
        covering = exact or [
            context
            for names, context in self._by_name
            if any(dns_name_matches(asked, name) for name in names)
        ]
        return covering[0] if asked and covering else None


def _with_end(facts: PeerCertificate) -> str:
    return f"{described(facts)}, good until {date_of(facts.not_after)}"


def _one_of_each_kind(certificates: Sequence[Named]) -> list[Named]:
    kinds: dict[bool, Named] = {}
    for each in certificates:
        kinds.setdefault(_is_rsa(each), each)
    return list(kinds.values())


def _is_rsa(named: Named) -> bool:
    origin, certificate = named
    return isinstance(leaf_of(certificate, origin).public_key(), rsa.RSAPublicKey)


def _facts(named: Named) -> PeerCertificate:
    origin, certificate = named
    return certificate_facts(leaf_of(certificate, origin).public_bytes(Encoding.DER))
