"""A client of TLS 1.3 that makes its records itself once hands are shaken: what no library sends.

Python's `ssl` shakes hands and tells the secret (its key log); records are RFC 8446 section 5.2's.
"""

from __future__ import annotations

import pathlib
import socket
import ssl
import struct
import tempfile

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_HANDSHAKE, _APPLICATION_DATA = 22, 23
_KEY_UPDATE = 24


class RecordMaker:
    """Of a blocking socket that is connected; the constructor blocks until hands are shaken."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / "keys"
            context.keylog_filename = str(log)
            self._cipher = _shake_hands(sock, context)
            lines = [line.split() for line in log.read_text().splitlines()]
        self._secret = next(
            bytes.fromhex(secret)
            for label, _, secret in (line for line in lines if len(line) == 3)
            if label == "CLIENT_TRAFFIC_SECRET_0"
        )
        self._use_secret()

    def data(self, plain: bytes) -> bytes:
        return self._record(plain, _APPLICATION_DATA)

    def key_update(self, *, answer: bool = False) -> bytes:
        """RFC 8446 section 4.6.3. answer: the peer has to change its keys, too."""
        record = self._record(bytes((_KEY_UPDATE, 0, 0, 1, answer)), _HANDSHAKE)
        self._secret = _expand(self._secret, b"traffic upd", 32)
        self._use_secret()
        return record

    def _use_secret(self) -> None:
        assert self._cipher == "TLS_AES_128_GCM_SHA256"
        self._key = AESGCM(_expand(self._secret, b"key", 16))
        self._iv = int.from_bytes(_expand(self._secret, b"iv", 12), "big")
        self._count = 0

    def _record(self, plain: bytes, kind: int) -> bytes:
        inner = plain + bytes((kind,))
        header = struct.pack(">BHH", _APPLICATION_DATA, 0x0303, len(inner) + 16)
        nonce = (self._iv ^ self._count).to_bytes(12, "big")
        self._count += 1
        return header + self._key.encrypt(nonce, inner, header)


def _shake_hands(sock: socket.socket, context: ssl.SSLContext) -> str:
    """The cipher."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="server.test")
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(65536))
        else:
            sock.sendall(outgoing.read())
            cipher = tls.cipher()
            assert cipher is not None
            return cipher[0]


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    """RFC 8446 section 7.1: HKDF-Expand-Label without a context."""
    full = b"tls13 " + label
    info = struct.pack(">HB", size, len(full)) + full + b"\0"
    return HKDFExpand(hashes.SHA256(), size, info).derive(secret)
