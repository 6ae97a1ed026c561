"""OpenSSL's contexts from the model: versions, ciphers, keys, roots. Each is made once and never
changed: material that was rotated means a new one, so no ticket of the old one is good for it.

Private keys go from memory to OpenSSL; nothing touches a disk. Knows no connection.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from proxy.config.model import CommonTls, DataSource, TlsCertificate, ValidationContext
from proxy.tls.domain_roots import DomainRoots
from proxy.tls.failure import TlsConfigError
from proxy.tls.openssl import (
    MODE_AUTO_RETRY,
    MODE_NO_AUTO_CHAIN,
    MODE_WRITES_IN_PARTS,
    set_groups,
    set_signature_algorithms,
)
from proxy.tls.verify import Stores, Verifier

# Envoy's default TLS 1.2 cipher suites, in its order; those of TLS 1.3 can't be configured.
DEFAULT_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
# AES-128 first, as BoringSSL has it: its SHA-256 is quicker than the other's SHA-384.
TLS13_CIPHERS = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
DEFAULT_CURVES = ("X25519", "P-256")
_VERSIONS = {"TLSv1_2": SSL.TLS1_2_VERSION, "TLSv1_3": SSL.TLS1_3_VERSION}
_CRL = re.compile(b"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
# openssl/x509_vfy.h
_CRL_CHECK, _CRL_CHECK_ALL, _PARTIAL_CHAIN, _NO_CHECK_TIME = 0x4, 0x8, 0x80000, 0x200000


def new_context(method: int, common: CommonTls) -> SSL.Context:
    """With everything but keys and roots."""
    context = SSL.Context(method)
    context.set_min_proto_version(_VERSIONS[common.min_version])
    context.set_max_proto_version(_VERSIONS[common.max_version])
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    # The end of TCP is the end of the peer's direction, with or without a close_notify.
    context.set_options(SSL.OP_IGNORE_UNEXPECTED_EOF)
    context.set_mode(MODE_NO_AUTO_CHAIN | MODE_WRITES_IN_PARTS | SSL.MODE_RELEASE_BUFFERS)
    # A read ends with a record that is none for us, too: a peer may send such without end
    # (KeyUpdate takes 27 bytes of him and 100 us of us), and others want their turn.
    context.clear_mode(MODE_AUTO_RETRY)
    _set_ciphers(context, common.ciphers or DEFAULT_CIPHERS)
    if not set_groups(context, common.curves or DEFAULT_CURVES):
        raise TlsConfigError(f"unknown ecdh_curves: {', '.join(common.curves)}")
    wanted = common.signature_algorithms
    if wanted and not set_signature_algorithms(context, wanted):
        raise TlsConfigError(f"unknown signature_algorithms: {', '.join(wanted)}")
    return context


def _set_ciphers(context: SSL.Context, ciphers: tuple[str, ...]) -> None:
    """Refuses by name what OpenSSL does not know: it would silently use the others only."""
    names = [name for group in ciphers for name in group.strip("[]").split("|")]
    unknown = [name for name in names if name not in _known_ciphers()]
    if unknown:
        raise TlsConfigError(f"unknown TLS 1.2 cipher suites: {', '.join(unknown)}")
    context.set_cipher_list(":".join(names).encode())
    context.set_tls13_ciphersuites(TLS13_CIPHERS)


@cache
def _known_ciphers() -> frozenset[str]:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_cipher_list(b"ALL:COMPLEMENTOFALL")
    names = SSL.Connection(context).get_cipher_list()
    return frozenset(name for name in names if not name.startswith("TLS_"))


# --------------------------------------------------------------------------- our own certificate


def leaf_of(certificate: TlsCertificate, origin: str) -> x509.Certificate:
    """Raises TlsConfigError beginning with `origin`."""
    try:
        return x509.load_pem_x509_certificates(certificate.chain.data)[0]
    except ValueError as error:
        raise TlsConfigError(f"{origin}: the certificate chain: {one_line(error)}") from None


def load_certificate(context: SSL.Context, certificate: TlsCertificate, origin: str) -> None:
    """Raises TlsConfigError beginning with `origin`."""
    password = certificate.password.data.strip() if certificate.password else None
    try:
        key = load_pem_private_key(certificate.private_key.data, password)
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise TlsConfigError(f"{origin}: only RSA and ECDSA keys are supported")
        with _in_memory(certificate.chain.data) as path:
            context.use_certificate_chain_file(path)
        context.use_privatekey(key)
        context.check_privatekey()
    except TypeError:
        words = "has no password" if password is None else "is not encrypted, but has a password"
        known = "is encrypted and " if password is None else ""
        raise TlsConfigError(f"{origin}: the private key {known}{words}") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsConfigError(f"{origin}: the private key: {one_line(error)}") from None
    except SSL.Error as error:
        raise TlsConfigError(f"{origin}: {one_line(error)}") from None


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """A file name for OpenSSL that leads to `data` and to no disk."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


# --------------------------------------------------------------------------- whom to trust


def verifies(validation: ValidationContext | None) -> bool:
    """Whether there is anything to verify a peer by."""
    if validation is None:
        return False
    pinned = bool(validation.hashes or validation.spkis)
    return pinned or validation.trusted_ca is not None or bool(validation.trust_domains)


def verifier_of(validation: ValidationContext | None, origin: str) -> Verifier | None:
    """Who judges. Raises TlsConfigError beginning with `origin`."""
    if validation is None or not verifies(validation):
        return None
    try:
        stores = _stores(validation) if validation.trust_domains else None
        return Verifier(validation, stores)
    except (ValueError, crypto.Error) as error:
        raise TlsConfigError(f"{origin}: {one_line(error)}") from None


def load_trust(context: SSL.Context, validation: ValidationContext, origin: str) -> None:
    """The roots; the mode of verification is the caller's. Raises TlsConfigError beginning with
    `origin`."""
    try:
        if validation.trusted_ca is not None and not validation.trust_domains:
            store = context.get_cert_store()
            assert store is not None, "a context has a store"
            _fill(store, validation.trusted_ca, validation)
        if validation.max_verify_depth is not None:
            context.set_verify_depth(validation.max_verify_depth)
    except (ValueError, SSL.Error, crypto.Error) as error:
        raise TlsConfigError(f"{origin}: {one_line(error)}") from None


def announce_authorities(context: SSL.Context, validation: ValidationContext | None) -> None:
    """A server tells its clients whose certificates it takes (RFC 8446 section 4.2.4)."""
    if validation is not None and validation.trusted_ca is not None:
        with _in_memory(validation.trusted_ca.data) as path:
            context.load_client_ca(path.encode())


def _stores(validation: ValidationContext) -> Stores:
    """A list counts where its issuer is believed: elsewhere it is missing, which refuses all."""
    lists = [] if validation.crl is None else _lists(validation.crl)
    return {
        domain.name: _domain_roots(domain.bundle, lists, validation)
        for domain in validation.trust_domains
    }


def _domain_roots(
    bundle: DataSource, pems: list[bytes], validation: ValidationContext
) -> DomainRoots:
    # Not judged afterwards: OpenSSL stops at the first date, before it verifies what it signed.
    flags = _NO_CHECK_TIME if validation.allow_expired else 0
    plain = crypto.X509Store()
    plain.set_flags(flags)
    roots = _add_roots(plain, bundle)
    # Envoy's SPIFFE validator looks at those alone, and then wants one of each issuer of a chain.
    own = _CRL.findall(bundle.data)
    if not pems and not own:
        return DomainRoots(plain)
    listed = crypto.X509Store()
    _add_roots(listed, bundle)
    lists = _add_lists(listed, pems + own)
    only_leaves = validation.only_verify_leaf_crl and not own
    listed.set_flags(flags | _crl_flags(only_leaves))
    return DomainRoots(plain, listed, lists, roots, always=bool(own))


def _fill(store: crypto.X509Store, roots: DataSource, validation: ValidationContext) -> None:
    _add_roots(store, roots)
    lists = _CRL.findall(roots.data)  # Envoy takes those that stand among the roots, too
    if validation.crl is not None:
        lists += _lists(validation.crl)
    _add_lists(store, lists)
    flags = _PARTIAL_CHAIN  # Envoy trusts an intermediate CA too
    if lists:
        flags |= _crl_flags(validation.only_verify_leaf_crl)
    store.set_flags(flags)


def _lists(source: DataSource) -> list[bytes]:
    found = _CRL.findall(source.data)
    if not found:
        raise ValueError(f"crl {source.origin}: holds no CRL in PEM")
    return found


def _add_lists(store: crypto.X509Store, pems: list[bytes]) -> list[x509.CertificateRevocationList]:
    lists = [x509.load_pem_x509_crl(each) for each in pems]
    for one in lists:
        store.add_crl(one)
    return lists


def _crl_flags(only_verify_leaf_crl: bool) -> int:
    return _CRL_CHECK if only_verify_leaf_crl else _CRL_CHECK | _CRL_CHECK_ALL


def _add_roots(store: crypto.X509Store, roots: DataSource) -> list[x509.Certificate]:
    with warnings.catch_warnings():
        # Old roots have serial numbers that RFC 5280 forbids; Envoy takes them too.
        warnings.simplefilter("ignore")
        try:
            found = x509.load_pem_x509_certificates(roots.data)
        except ValueError as error:
            raise ValueError(f"trusted_ca: {error}") from None
        for root in found:
            store.add_cert(crypto.X509.from_cryptography(root))
    return found


def one_line(error: Exception) -> str:
    """The library's reason without its advice to programmers. OpenSSL's are tuples of words."""
    if error.args and isinstance(error.args[0], list):
        return "; ".join(str(one[-1]) for one in error.args[0]) or type(error).__name__
    return " ".join(str(error).split()).partition(" See http")[0][:200]
