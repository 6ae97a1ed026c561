"""Envoy's TLS contexts as `ssl.SSLContext`s, made from the model and the secrets at hand.

A context is immutable once made: a rotated secret means a new one, and the reference is swapped
(a failed load leaves a live context broken). The private key goes from memory to OpenSSL through a
memfd and never touches a disk. Knows no connection; `peer` judges names after the handshake.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace

from proxy.config.model import (
    CommonTls,
    DownstreamTls,
    SdsRef,
    Secret,
    TlsCertificate,
    UpstreamTls,
    ValidationContext,
)
from proxy.tls.peer import (
    SanCheck,
    compile_san_matchers,
    has_name,
    remember_server_name,
    sans_of,
)

# Envoy's default TLS 1.2 cipher suites, in its order; TLS 1.3 suites are not configurable.
DEFAULT_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)

_VERSIONS = {"TLSv1_2": ssl.TLSVersion.TLSv1_2, "TLSv1_3": ssl.TLSVersion.TLSv1_3}


Contexts = MutableMapping[tuple[object, ...], ssl.SSLContext]
"""By what they were made of."""


class TlsConfigError(Exception):
    """The material of a TLS context is missing or bad; the message names the resource."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Terminates TLS of a filter chain."""

    ssl_context: ssl.SSLContext
    san_check: SanCheck | None = None

    def verify(self, tls: ssl.SSLObject) -> str | None:
        """After the handshake: None, or why this client must be refused."""
        return _verify_sans(self.san_check, tls)


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Originates TLS to the hosts of a cluster.

    server_hostname goes to asyncio as it is: '' sends no SNI, as Envoy does without `sni`.
    make: the same context with other ALPN protocols; None where the configuration names its own."""

    ssl_context: ssl.SSLContext
    server_hostname: str = ""
    san_check: SanCheck | None = None
    make: Callable[[tuple[str, ...]], ssl.SSLContext] | None = None

    def offering(self, alpn: tuple[str, ...]) -> ssl.SSLContext:
        """With these protocols, unless the configuration has named others."""
        return self.ssl_context if self.make is None else self.make(alpn)

    def verify(self, tls: ssl.SSLObject, name: str = "") -> str | None:
        """After the handshake: None, or why this server must not be talked to. name: one that its
        certificate must have, beside what is configured (`auto_san_validation`)."""
        why = _verify_sans(self.san_check, tls)
        if why is None and name and not has_name(sans_of(tls) or {}, name):
            return f"the certificate is not for {name}"
        return why


def server_context(tls: DownstreamTls, secrets: Mapping[str, Secret]) -> ServerTls:
    """Raises TlsConfigError naming what is missing or bad."""
    certificates = _certificates(tls.common, secrets)
    if not certificates:
        raise TlsConfigError("a listener's TLS context has no certificate")
    origin, validation = _validation(tls.common, secrets)
    san_check = _san_check(validation, origin)
    context = _context(ssl.PROTOCOL_TLS_SERVER, tls.common, certificates, origin, validation)
    if context.verify_mode is ssl.CERT_REQUIRED and not tls.require_client_certificate:
        context.verify_mode = ssl.CERT_OPTIONAL  # a certificate that is shown must be good
    elif context.verify_mode is ssl.CERT_NONE and tls.require_client_certificate:
        raise TlsConfigError(
            "require_client_certificate without trusted_ca: there is nothing to verify it against"
        )
    context.sni_callback = remember_server_name
    return ServerTls(context, san_check)


def client_context(
    tls: UpstreamTls,
    secrets: Mapping[str, Secret],
    made: Contexts | None = None,
    alpn: tuple[str, ...] = (),
) -> ClientTls:
    """Raises TlsConfigError naming what is missing or bad. alpn: offered where `tls` names no
    protocols, and made at once; others are made when somebody asks.

    made: contexts to share; those of all clusters of a mesh differ only in what is no part of a
    context, the server's names. Making one takes 2 ms."""
    common = tls.common
    certificates = _certificates(common, secrets)
    origin, validation = _validation(common, secrets)
    san_check = _san_check(validation, origin)
    trusted = validation.trusted_ca if validation is not None else None
    own: dict[tuple[str, ...], ssl.SSLContext] = {}  # keeps those alive that `made` knows

    def make(protocols: tuple[str, ...]) -> ssl.SSLContext:
        if protocols in own:
            return own[protocols]
        key = (common.min_version, common.max_version, common.ciphers, protocols)
        material = (*key, *(certificate for _, certificate in certificates), trusted)
        context = made.get(material) if made is not None else None
        if context is None:
            offer = replace(common, alpn=protocols)
            context = _context(ssl.PROTOCOL_TLS_CLIENT, offer, certificates, origin, validation)
            if made is not None:
                made[material] = context
        own[protocols] = context
        return context

    if common.alpn:
        return ClientTls(make(common.alpn), tls.sni, san_check)
    return ClientTls(make(alpn), tls.sni, san_check, make)


def _verify_sans(check: SanCheck | None, tls: ssl.SSLObject) -> str | None:
    if check is None:
        return None
    sans = sans_of(tls)
    if sans is None:  # only where a certificate is not required: nobody to identify
        return None
    if check(sans):
        return None
    shown = ", ".join(name for names in sans.values() for name in names) or "no names"
    return f"the certificate's names do not match: {shown}"


def _context(
    protocol: int,
    common: CommonTls,
    certificates: tuple[tuple[str, TlsCertificate], ...],
    validation_origin: str,
    validation: ValidationContext | None,
) -> ssl.SSLContext:
    """verify_mode comes out as CERT_REQUIRED when there is a trusted_ca, else CERT_NONE."""
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.minimum_version = _VERSIONS[common.min_version]
    context.maximum_version = _VERSIONS[common.max_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    _set_ciphers(context, common.ciphers or DEFAULT_CIPHERS)
    for origin, certificate in certificates:
        _load_certificate(context, certificate, origin)
    if common.alpn:
        context.set_alpn_protocols(list(common.alpn))
    _load_trust(context, validation, validation_origin)
    return context


# --------------------------------------------------------------------------- material


def _certificates(
    common: CommonTls, secrets: Mapping[str, Secret]
) -> tuple[tuple[str, TlsCertificate], ...]:
    """(origin for messages, certificate) of the inline ones and of the one by SDS."""
    found = [(_origin(certificate), certificate) for certificate in common.certificates]
    if common.certificate_sds is not None:
        secret = _secret(common.certificate_sds, secrets)
        if secret.certificate is None:
            raise TlsConfigError(f"secret '{secret.name}' holds no tls_certificate")
        found.append((f"secret '{secret.name}'", secret.certificate))
    return tuple(found)


def _origin(certificate: TlsCertificate) -> str:
    return f"certificate {certificate.chain.origin}, private key {certificate.private_key.origin}"


def _secret(reference: SdsRef, secrets: Mapping[str, Secret]) -> Secret:
    secret = secrets.get(reference.name)
    if secret is None:
        raise TlsConfigError(f"secret '{reference.name}' is not there")
    return secret


def _validation(
    common: CommonTls, secrets: Mapping[str, Secret]
) -> tuple[str, ValidationContext | None]:
    """The context to verify with. Envoy's combined one: the secret's merged over the default, its
    trusted_ca wins, the names of both count."""
    default = common.validation
    if common.validation_sds is None:
        return "validation context", default
    secret = _secret(common.validation_sds, secrets)
    dynamic = secret.validation
    if dynamic is None:
        raise TlsConfigError(f"secret '{secret.name}' holds no validation_context")
    if default is not None:
        dynamic = replace(
            dynamic,
            trusted_ca=dynamic.trusted_ca or default.trusted_ca,
            match_sans=default.match_sans + dynamic.match_sans,
        )
    return f"secret '{secret.name}'", dynamic


def _load_certificate(context: ssl.SSLContext, certificate: TlsCertificate, origin: str) -> None:
    password = certificate.password.data.strip() if certificate.password else b""

    def ask() -> bytes:
        # Without a callback OpenSSL would ask on the terminal.
        if not password:
            raise TlsConfigError(f"{origin}: the private key is encrypted and has no password")
        return password

    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        _write_all(descriptor, certificate.chain.data + b"\n" + certificate.private_key.data)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=ask)
    except (ssl.SSLError, ValueError) as error:
        raise TlsConfigError(f"{origin}: {_why(error)}") from None
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _san_check(validation: ValidationContext | None, origin: str) -> SanCheck | None:
    if validation is None or not validation.match_sans:
        return None
    if validation.trusted_ca is None:
        # Envoy: "SAN-based verification of peer certificates without trusted CA is insecure"
        raise TlsConfigError(f"{origin}: names to match but no trusted_ca to verify them")
    try:
        return compile_san_matchers(validation.match_sans)
    except ValueError as error:
        raise TlsConfigError(f"{origin}: {error}") from None


def _load_trust(context: ssl.SSLContext, validation: ValidationContext | None, origin: str) -> None:
    if validation is None or validation.trusted_ca is None:
        context.verify_mode = ssl.CERT_NONE
        return
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # Envoy trusts an intermediate CA too
    try:
        context.load_verify_locations(cadata=validation.trusted_ca.data.decode("ascii", "ignore"))
    except ssl.SSLError as error:
        raise TlsConfigError(f"{origin}: trusted_ca: {_why(error)}") from None
    except ValueError as error:
        raise TlsConfigError(f"{origin}: {error}") from None


def _why(error: Exception) -> str:
    """OpenSSL's reason in words, without its file and line."""
    reason = getattr(error, "reason", None)
    if reason:
        return str(reason).replace("_", " ").lower()
    return str(error).split(" (_ssl.c")[0] or type(error).__name__


# --------------------------------------------------------------------------- ciphers


def _set_ciphers(context: ssl.SSLContext, ciphers: tuple[str, ...]) -> None:
    """Refuses by name what OpenSSL does not know: it would silently use the others only."""
    names = [name for group in ciphers for name in group.strip("[]").split("|")]
    unknown = [name for name in names if name not in _known_ciphers()]
    if unknown:
        raise TlsConfigError(f"unknown TLS 1.2 cipher suites: {', '.join(unknown)}")
    context.set_ciphers(":".join(names))


_known: frozenset[str] = frozenset()


def _known_ciphers() -> frozenset[str]:
    global _known
    if not _known:
        probe = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        probe.set_ciphers("ALL:COMPLEMENTOFALL")
        listed = (cipher["name"] for cipher in probe.get_ciphers())
        _known = frozenset(name for name in listed if not name.startswith("TLS_"))
    return _known
