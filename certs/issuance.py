"""A new certificate as it is handed out: its text, its number and its end.

Whoever signs knows all three; to make an object of the certificate and ask that for them takes a
fifth of the time of signing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from certs.x509 import Certificate, certificate_to_pem, validity


@dataclass(frozen=True, slots=True)
class Issuance:
    """pems: a block for each certificate of the chain, leaf first and root last. serial and
    not_after (Unix seconds) are the leaf's."""

    pems: tuple[str, ...]
    serial: int
    not_after: float


def issuance_of(chain: Sequence[Certificate]) -> Issuance:
    """Of a chain that somebody else has made, leaf first."""
    leaf = chain[0]
    pems = tuple(certificate_to_pem(one) for one in chain)
    return Issuance(pems, leaf.serial_number, validity(leaf)[1])
