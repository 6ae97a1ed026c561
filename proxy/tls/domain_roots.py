"""The roots of one trust domain and what its authorities have revoked: for the SPIFFE validator,
which may not ask a foreign authority for a list of ours. Knows no session.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from OpenSSL import crypto


class DomainRoots:
    """plain: a store of the roots. listed: one of the same roots that also looks at `lists`, None
    where there are none. roots: those in the stores. always: lists that came with the roots, which
    count whoever has signed them."""

    __slots__ = ("_always", "_listed", "_lists", "_plain")

    def __init__(
        self,
        plain: crypto.X509Store,
        listed: crypto.X509Store | None = None,
        lists: Sequence[x509.CertificateRevocationList] = (),
        roots: Sequence[x509.Certificate] = (),
        *,
        always: bool = False,
    ) -> None:
        self._plain = plain
        self._listed = listed
        self._lists = tuple(lists)
        # Ours: then a list must be there for each issuer, as without the SPIFFE validator.
        self._always = always or any(self._has_list(root) for root in roots)

    def verify(self, leaf: crypto.X509, others: list[crypto.X509] | None) -> None:
        """others: what may lead from the leaf to a root. Raises X509StoreContextError."""
        if self._listed is not None and self._always:
            crypto.X509StoreContext(self._listed, leaf, others).verify_certificate()
            return
        chain = crypto.X509StoreContext(self._plain, leaf, others).get_verified_chain()
        if self._listed is None:
            return
        # Lists of intermediate CAs: only now it is known which of them have issued it.
        if any(self._has_list(one.to_cryptography()) for one in chain[1:]):
            crypto.X509StoreContext(self._listed, leaf, others).verify_certificate()

    def _has_list(self, authority: x509.Certificate) -> bool:
        """By its key, too: authorities of different meshes may have the same name."""
        return any(
            one.issuer == authority.subject and _signed(one, authority) for one in self._lists
        )


def _signed(one: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        return one.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (TypeError, UnsupportedAlgorithm):  # a kind of key that signs nothing here
        return False
