"""What a connection is seldom asked of its TLS, by operators of an access log mostly.

Asked of OpenSSL when somebody wants to know, as long as the session is there. Judges nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from OpenSSL import SSL

from proxy.tls.openssl import NULL, der_of, ffi, lib, text
from proxy.tls.peer import certificate_facts

_GROUPS: Final = {
    "x25519": "X25519", "secp256r1": "P-256", "prime256v1": "P-256", "secp384r1": "P-384",
    "secp521r1": "P-521", "x25519mlkem768": "X25519MLKEM768",
}  # fmt: skip
_group_name: Final[Any] = lib.SSL_get0_group_name
_SESSION_BYTES: Final = 64 * 1024
_OCTETS: Final = 0x04  # X.690: an OCTET STRING
_ID_ENDS: Final = 49  # at the latest: what is in front of it has a fixed size


def told(ssl: Any, what: str) -> str:
    """what: a key of `_FACTS`; '' where there is none."""
    return _FACTS[what](ssl)


def group_of(ssl: Any) -> str:
    """Of the key exchange, in Envoy's words: X25519, P-256."""
    name = text(_group_name(ssl))
    return _GROUPS.get(name) or _GROUPS.get(name.lower(), name)


def _session_id(ssl: Any) -> str:
    """In hexadecimal. A session of TLS 1.3 has none (Envoy, too)."""
    if lib.SSL_version(ssl) == SSL.TLS1_3_VERSION:
        return ""
    session = lib.SSL_get_session(ssl)
    size: int = lib.i2d_SSL_SESSION(session, NULL) if session != NULL else 0
    if not 0 < size <= _SESSION_BYTES:
        return ""
    room = ffi.new("unsigned char[]", size)
    lib.i2d_SSL_SESSION(session, ffi.new("unsigned char **", room))
    found = _second_octets(ffi.buffer(room)).hex()
    ffi.memmove(room, bytes(size), size)  # the session's secret was among it
    return found


def _second_octets(der: Any) -> bytes:
    """Of OpenSSL's SSL_SESSION: a sequence of two numbers, the cipher, the id and what follows."""
    head = der[:_ID_ENDS]
    at = 2 if head[1] < 0x80 else 2 + (head[1] & 0x7F)
    strings, size = 0, 0
    while strings < 2:  # the first is the cipher's; each of these is short
        size = head[at + 1]
        strings += head[at] == _OCTETS
        at += 2 + size
    return bytes(head[at - size : at])


def _issuer(ssl: Any) -> bytes:
    """DER of the certificate that has signed the peer's, as it was verified in this handshake;
    nobody is verified in one that resumes a session."""
    chain = lib.SSL_get0_verified_chain(ssl)
    if chain == NULL or lib.sk_X509_num(chain) < 2:
        return b""
    return der_of(lib.sk_X509_value(chain, 1))


def _issuer_serial(ssl: Any) -> str:
    der = _issuer(ssl)
    return certificate_facts(der).serial if der else ""


def _issuer_digest(ssl: Any) -> str:
    der = _issuer(ssl)
    return certificate_facts(der).sha256 if der else ""


_FACTS: Final[Mapping[str, Callable[[Any], str]]] = {
    "group": group_of,
    "session_id": _session_id,
    "issuer_serial": _issuer_serial,
    "issuer_sha256": _issuer_digest,
}
