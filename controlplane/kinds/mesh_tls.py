"""The part of Istio's MeshConfig that says what TLS may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from controlplane.kinds.decoders import enum, list_of, text
from controlplane.kinds.schema import Record, optional, record
from controlplane.kinds.server_tls import CIPHERS

CURVES = ("P-256", "P-384", "P-521", "X25519", "X25519MLKEM768")
"""Those that Envoy and Weft's proxies know."""


@record
class TlsConfig(Record):
    """TLS 1.2 is the least that is spoken, Istio's default."""

    min_protocol_version: Literal["TLS_AUTO", "TLSV1_2", "TLSV1_3"] = optional(
        enum("TLS_AUTO", "TLSV1_2", "TLSV1_3"), "TLS_AUTO"
    )
    cipher_suites: tuple[str, ...] = optional(list_of(text), ())
    ecdh_curves: tuple[str, ...] = optional(list_of(text), ())

    def check(self) -> Iterator[tuple[str, str]]:
        yield from _unknown("cipherSuites", self.cipher_suites, sorted(CIPHERS))
        yield from _unknown("ecdhCurves", self.ecdh_curves, CURVES)


def _unknown(
    key: str, written: tuple[str, ...], known: tuple[str, ...] | list[str]
) -> Iterator[tuple[str, str]]:
    for index, name in enumerate(written):
        if name not in known:
            yield f"{key}[{index}]", f"{name!r} is not known; expected {'|'.join(known)}"
        elif name in written[:index]:
            yield f"{key}[{index}]", f"{name!r} is given twice"
