"""Istio's ServerTLSSettings, in what gateways and sidecars have alike: files, whom they believe,
and versions and ciphers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from controlplane.kinds.decoders import enum, list_of, text
from controlplane.kinds.schema import Record, names, obj, optional, record, required

CIPHERS = names(
    "ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-RSA-AES128-GCM-SHA256 ECDHE-ECDSA-AES256-GCM-SHA384 "
    "ECDHE-RSA-AES256-GCM-SHA384 ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-CHACHA20-POLY1305 "
    "ECDHE-ECDSA-AES128-SHA ECDHE-RSA-AES128-SHA ECDHE-ECDSA-AES256-SHA ECDHE-RSA-AES256-SHA "
    "AES128-GCM-SHA256 AES256-GCM-SHA384 AES128-SHA AES256-SHA DES-CBC3-SHA"
)
Version = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]
_VERSIONS = ("TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3")
_VERSION = enum(*_VERSIONS)


@record
class ServerCertificate(Record):
    """One of several pairs of files."""

    server_certificate: str = required(text)
    private_key: str = required(text)
    ca_certificates: str = optional(text, "")


@record
class ServerTlsSettings(Record):
    server_certificate: str = optional(text, "")
    private_key: str = optional(text, "")
    ca_certificates: str = optional(text, "")
    ca_crl: str = optional(text, "")
    tls_certificates: tuple[ServerCertificate, ...] = optional(list_of(obj(ServerCertificate)), ())
    subject_alt_names: tuple[str, ...] = optional(list_of(text), ())
    verify_certificate_spki: tuple[str, ...] = optional(list_of(text), ())
    verify_certificate_hash: tuple[str, ...] = optional(list_of(text), ())
    min_protocol_version: Version = optional(_VERSION, "TLS_AUTO")
    max_protocol_version: Version = optional(_VERSION, "TLS_AUTO")
    cipher_suites: tuple[str, ...] = optional(list_of(text), ())

    def check(self) -> Iterator[tuple[str, str]]:
        known = "|".join(sorted(CIPHERS))
        for index, cipher in enumerate(self.cipher_suites):
            if cipher not in CIPHERS:
                yield f"cipherSuites[{index}]", f"no cipher suite {cipher!r}; expected {known}"
        # TLS_AUTO is no bound.
        lowest = _VERSIONS.index(self.min_protocol_version)
        highest = _VERSIONS.index(self.max_protocol_version)
        if lowest and highest and lowest > highest:
            yield "minProtocolVersion", "is higher than maxProtocolVersion"
