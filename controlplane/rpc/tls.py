"""A port's TLS: OpenSSL's context for what is shown and believed now.

A context is never changed: other material means another one, for the connections to come. Nothing
is resumed: each connection is verified by what is believed as it begins. Opens nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from proxy.tls.openssl import (
    MODE_AUTO_RETRY,
    MODE_NO_AUTO_CHAIN,
    MODE_WRITES_IN_PARTS,
    choose_alpn,
    set_groups,
)

PROTOCOL: Final = "h2"
_CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20"
_CIPHERS_13: Final = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_GROUPS: Final = ("X25519", "P-256")
_PARTIAL_CHAIN: Final = 0x80000  # openssl/x509_vfy.h: whoever is believed is, also an intermediate


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM. roots_pem: whose certificates a client must show one of, b"" to ask for none."""

    key_pem: bytes = field(repr=False)
    chain_pem: bytes
    roots_pem: bytes = b""


def server_context(credentials: Credentials) -> SSL.Context:
    """Raises ValueError and SSL.Error for material that is none."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET)
    context.set_options(SSL.OP_IGNORE_UNEXPECTED_EOF | SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_mode(MODE_NO_AUTO_CHAIN | MODE_WRITES_IN_PARTS | SSL.MODE_RELEASE_BUFFERS)
    context.clear_mode(MODE_AUTO_RETRY)  # others have their turn behind each record
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"weft")
    context.set_cipher_list(_CIPHERS)
    context.set_tls13_ciphersuites(_CIPHERS_13)
    set_groups(context, _GROUPS)
    choose_alpn(context, (PROTOCOL,))
    _show(context, credentials)
    if credentials.roots_pem:
        _demand(context, credentials.roots_pem)
    return context


def _show(context: SSL.Context, credentials: Credentials) -> None:
    leaf, *others = x509.load_pem_x509_certificates(credentials.chain_pem)
    context.use_certificate(leaf)
    for each in others:
        context.add_extra_chain_cert(each)
    context.use_privatekey(load_pem_private_key(credentials.key_pem, None))  # type: ignore[arg-type]
    context.check_privatekey()


def _demand(context: SSL.Context, roots_pem: bytes) -> None:
    store = context.get_cert_store()
    assert store is not None, "a context has a store"
    store.set_flags(_PARTIAL_CHAIN)
    for root in x509.load_pem_x509_certificates(roots_pem):
        store.add_cert(crypto.X509.from_cryptography(root))
    descriptor = os.memfd_create("roots", os.MFD_CLOEXEC)  # OpenSSL wants a file, and gets no disk
    with open(descriptor, "wb") as file:
        file.write(roots_pem)
        file.flush()
        context.load_client_ca(b"/proc/self/fd/%d" % descriptor)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
