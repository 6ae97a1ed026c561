"""OCSP responses that we staple to our certificates, for clients that ask for one (RFC 6066 section
8; Envoy: `ocsp_staple` and `ocsp_staple_policy`). They come with the configuration, whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import time
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from OpenSSL import SSL

from proxy.config.model import DataSource, TlsCertificate
from proxy.config.model.tls import StaplePolicy
from proxy.tls.build import leaf_of, one_line
from proxy.tls.failure import TlsConfigError
from proxy.tls.openssl import der_of, ffi, lib
from proxy.tls.session import shaking

Outcome = Literal["responses", "omitted", "failed"]
"""Of a client's question, as Envoy counts it: `ssl.ocsp_staple_...`."""

_TOLD = "int (*)(SSL *, void *)"


@dataclass(frozen=True, slots=True)
class Staple:
    """Of one certificate. good_until: Unix seconds; Envoy takes a response that does not say how
    long it is good for one that is no more."""

    policy: StaplePolicy
    response: bytes | None = None
    good_until: float = 0.0

    def outcome(self, now: float) -> Outcome:
        if self.response is not None and now <= self.good_until:
            return "responses"
        if self.policy == "MUST_STAPLE":
            return "failed"
        return "failed" if self.policy == "STRICT_STAPLING" and self.response else "omitted"


def staple_of(leaf: x509.Certificate, given: DataSource | None, policy: StaplePolicy) -> Staple:
    """Raises ValueError for a response that is not this certificate's, or is missing."""
    if _must_staple(leaf):
        if given is None:
            raise ValueError(
                "the certificate says that it must be stapled (TLS feature): no ocsp_staple"
            )
        policy = "MUST_STAPLE"
    if given is None:
        if policy == "MUST_STAPLE":
            raise ValueError("ocsp_staple_policy MUST_STAPLE: no ocsp_staple")
        return Staple(policy)
    read = ocsp.load_der_ocsp_response(given.data)
    if read.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise ValueError(
            f"ocsp_staple {given.origin}: the responder says {read.response_status.name}"
        )
    if read.serial_number != leaf.serial_number:
        raise ValueError(f"ocsp_staple {given.origin} is about another certificate")
    until = read.next_update_utc
    return Staple(policy, given.data, until.timestamp() if until is not None else 0.0)


def _must_staple(leaf: x509.Certificate) -> bool:
    """RFC 7633."""
    try:
        found = leaf.extensions.get_extension_for_class(x509.TLSFeature)
    except x509.ExtensionNotFound:
        return False
    return x509.TLSFeatureType.status_request in found.value


def staple(
    context: SSL.Context, certificates: Iterable[tuple[str, TlsCertificate]], policy: StaplePolicy
) -> None:
    """certificates: those of `context`, each with its origin. Raises TlsConfigError that begins
    with it."""
    staples: dict[bytes, Staple] = {}
    for origin, certificate in certificates:
        leaf = leaf_of(certificate, origin)
        try:
            found = staple_of(leaf, certificate.ocsp_staple, policy)
        except ValueError as error:
            raise TlsConfigError(f"{origin}: {one_line(error)}") from None
        staples[leaf.public_bytes(Encoding.DER)] = found
    if policy != "LENIENT_STAPLING" or any(one.response for one in staples.values()):
        _answer(context, staples)


def _answer(context: SSL.Context, staples: Mapping[bytes, Staple]) -> None:
    def asked(ssl: Any, _: Any) -> int:
        session = shaking()
        ours = staples[der_of(lib.SSL_get_certificate(ssl))]
        session.stapled = outcome = ours.outcome(time())
        if outcome == "failed":
            session.refusal.say("", "there is no OCSP response to staple that is good now")
            return int(lib.SSL_TLSEXT_ERR_ALERT_FATAL)
        if outcome == "omitted" or ours.response is None:
            return int(lib.SSL_TLSEXT_ERR_NOACK)
        size = len(ours.response)
        given = lib.OPENSSL_malloc(size)  # OpenSSL's from here on
        ffi.memmove(given, ours.response, size)
        lib.SSL_set_tlsext_status_ocsp_resp(ssl, given, size)
        return int(lib.SSL_TLSEXT_ERR_OK)

    kept = ffi.callback(_TOLD, asked, error=lib.SSL_TLSEXT_ERR_ALERT_FATAL)
    context._ocsp_callback = kept  # where pyOpenSSL keeps its own
    lib.SSL_CTX_set_tlsext_status_cb(context._context, kept)
