"""`TLSProperties` of an access log over gRPC: the same for all streams of a connection."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from proxy.connection import ConnectionInfo, PeerCertificate
from proxy.wire.protobuf import data, data_key, number, number_key, words

if TYPE_CHECKING:
    from proxy.l7.logged import Logged

_TLS: Final = data_key(4)
_VERSION: Final = number_key(1)
_CIPHER: Final = data_key(2)
_SNI: Final = data_key(3)
_OWN: Final = data_key(4)
_PEER: Final = data_key(5)
_SESSION: Final = data_key(6)
_JA3: Final = data_key(7)
_SAN: Final = data_key(1)
_SUBJECT: Final = data_key(2)
_ISSUER: Final = data_key(3)
_URI: Final = data_key(1)
_ID: Final = number_key(1)
_VERSIONS: Final = {"TLSv1": 1, "TLSv1.1": 2, "TLSv1.2": 3, "TLSv1.3": 4}
_KEPT: Final = "weft.access_log.tls"


def tls_properties(stream: Logged) -> bytes:
    """The whole field. Made once for a connection."""
    info = stream.down.info
    if info.state is None:
        info.state = {}
    known: bytes | None = info.state.get(_KEPT)
    if known is None:
        uri: bytes = stream.manager.own_uri
        known = info.state[_KEPT] = data(_TLS, _properties(info, uri.decode()))
    return known


def _properties(info: ConnectionInfo, own_uri: str) -> bytes:
    parts = [words(_SNI, info.sni), words(_JA3, info.ja3)]
    if info.tls:
        parts.append(number(_VERSION, _VERSIONS.get(info.tls_version, 0)))
        parts.append(data(_CIPHER, number(_ID, _cipher_ids().get(info.cipher, 0))))
        parts.append(words(_SESSION, info.told("session_id")))
        parts.append(data(_OWN, _certificate(info.own)))
        peer = info.peer
        issued = b"" if peer is None else words(_ISSUER, peer.issuer)
        parts.append(data(_PEER, _certificate(peer) + issued))
    return b"".join(parts)


def _certificate(certificate: PeerCertificate | None) -> bytes:
    if certificate is None:
        return b""
    names = [data(_SAN, words(_URI, uri)) for uri in certificate.uri_sans]
    return b"".join([*names, words(_SUBJECT, certificate.subject)])


@cache
def _cipher_ids() -> dict[str, int]:
    """IANA's numbers of cipher suites, by OpenSSL's names."""
    return {
        "TLS_AES_128_GCM_SHA256": 0x1301, "TLS_AES_256_GCM_SHA384": 0x1302,
        "TLS_CHACHA20_POLY1305_SHA256": 0x1303, "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B,
        "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C, "ECDHE-RSA-AES128-GCM-SHA256": 0xC02F,
        "ECDHE-RSA-AES256-GCM-SHA384": 0xC030, "ECDHE-ECDSA-CHACHA20-POLY1305": 0xCCA9,
        "ECDHE-RSA-CHACHA20-POLY1305": 0xCCA8, "ECDHE-PSK-CHACHA20-POLY1305": 0xCCAC,
        "ECDHE-ECDSA-AES128-SHA": 0xC009, "ECDHE-RSA-AES128-SHA": 0xC013,
        "ECDHE-PSK-AES128-CBC-SHA": 0xC035, "ECDHE-ECDSA-AES256-SHA": 0xC00A,
        "ECDHE-RSA-AES256-SHA": 0xC014, "ECDHE-PSK-AES256-CBC-SHA": 0xC036,
        "ECDHE-ECDSA-AES128-SHA256": 0xC023, "ECDHE-RSA-AES128-SHA256": 0xC027,
        "AES128-GCM-SHA256": 0x9C, "AES256-GCM-SHA384": 0x9D, "AES128-SHA": 0x2F,
        "AES256-SHA": 0x35, "PSK-AES128-CBC-SHA": 0x8C, "PSK-AES256-CBC-SHA": 0x8D,
    }  # fmt: skip
