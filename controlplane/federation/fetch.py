"""A SPIFFE bundle endpoint asked for its document (SPIFFE Federation, section 5).

https_web: the server proves itself by the web's roots and its name. https_spiffe: by an X.509-SVID
of a known SPIFFE ID, verified before the request is sent. Blocks: call it in a worker thread.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from http.client import HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from cryptography import x509

from certs.errors import CertificateError
from certs.spiffe import SpiffeId
from certs.spiffe_bundle import MAX_BUNDLE_BYTES, SpiffeBundle
from certs.x509 import chain_to_pem, check_svid

TIMEOUT_S = 10.0
_CHUNK_BYTES = 65_536


class FetchError(Exception):
    """Why there is no bundle; one line."""


def fetch_web(url: str, roots: ssl.SSLContext) -> SpiffeBundle:
    """From a server that `roots` and its host name verify."""
    return _fetch(url, roots, None)


def fetch_spiffe(url: str, server: SpiffeId, believed: SpiffeBundle) -> SpiffeBundle:
    """From the server with this SPIFFE ID, verified by what is believed of its trust domain."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The name that counts is the SPIFFE ID.
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=chain_to_pem(believed.roots).decode("ascii"))
    return _fetch(url, context, server)


def _fetch(url: str, context: ssl.SSLContext, server: SpiffeId | None) -> SpiffeBundle:
    parts = urlsplit(url)
    assert parts.hostname is not None, "configuration was checked"
    connection = HTTPSConnection(
        parts.hostname, parts.port or 443, timeout=TIMEOUT_S, context=context
    )
    try:
        connection.connect()
        if server is not None:
            _check_server(connection.sock, server)
        bundle = SpiffeBundle.parse(_document(connection, parts.path or "/"))
        bundle.check_usable()
    except (OSError, HTTPException, CertificateError) as error:
        raise FetchError(f"{url}: {_line(error)}") from error
    finally:
        connection.close()
    return bundle


def _check_server(connection: socket.socket, server: SpiffeId) -> None:
    assert isinstance(connection, ssl.SSLSocket)
    der = connection.getpeercert(binary_form=True)
    if der is None:
        raise CertificateError("the server showed no certificate")
    found = check_svid((x509.load_der_x509_certificate(der),))
    if found != server:
        raise CertificateError(f"the server is {found}, not {server}")


def _document(connection: HTTPSConnection, path: str) -> bytes:
    """The body of a 200, all of it within TIMEOUT_S: the socket's own limit is one for each piece
    that comes, and a server may send a header byte by byte."""
    over = threading.Event()
    cut = threading.Timer(TIMEOUT_S, _cut, (connection.sock, over))
    cut.start()
    try:
        return _body(connection, path)
    finally:
        cut.cancel()
        if over.is_set():
            raise TimeoutError(f"no whole bundle came within {TIMEOUT_S:.0f} s")


def _cut(connection: socket.socket, over: threading.Event) -> None:
    over.set()  # before whoever reads can see the end that this makes
    with suppress(OSError):  # it has ended meanwhile
        # Not SSLSocket's own, which takes its state away from whoever reads.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _body(connection: HTTPSConnection, path: str) -> bytes:
    """Redirects are not followed (section 5.2)."""
    connection.request("GET", path, headers={"accept": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise HTTPException(f"the server answers {response.status}")
    body = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_BUNDLE_BYTES:
            raise HTTPException(f"the bundle is larger than {MAX_BUNDLE_BYTES} bytes")
    return bytes(body)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
