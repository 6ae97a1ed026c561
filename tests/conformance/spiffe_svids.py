"""go-spiffe-testdata and py-spiffe-testdata: X.509-SVIDs and bundles, good and bad by their names.

The files `N-...` of py-spiffe belong together. Its DER files are certificates behind each other.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from certs import der
from certs.bundle import TrustBundle
from certs.errors import CertificateError
from certs.keys import key_from_pem
from certs.x509 import chain_from_pem, check_svid, matches_key
from tests.conformance import spiffe_bundles
from tests.conformance.suite import Result

Found = int | str
"""How many certificates were read, or why they were refused."""

SVIDS: dict[str, tuple[str, int | None]] = {
    "svid/x509svid/testdata/good-leaf-only.pem": ("key-pkcs8-rsa.pem", 1),
    "svid/x509svid/testdata/good-leaf-and-intermediate.pem": ("key-pkcs8-ecdsa.pem", 2),
    "svid/x509svid/testdata/good-cert-and-key.pem": ("good-cert-and-key.pem", 1),
    "svid/x509svid/testdata/good-key-and-cert.pem": ("good-key-and-cert.pem", 1),
    "svid/x509svid/testdata/corrupt-cert.pem": ("key-pkcs8-rsa.pem", None),
    "svid/x509svid/testdata/not-pem": ("key-pkcs8-rsa.pem", None),
    "svid/x509svid/testdata/corrupt-key.pem": ("corrupt-key.pem", None),
    "x509-certs/1-chain.der": ("1-key.der", 2),
    "x509-certs/2-chain.pem": ("2-key.pem", 2),
    "x509-certs/3-good-leaf-only.pem": ("3-key-pkcs8-rsa.pem", 1),
    "x509-certs/4-cert.der": ("4-key.der", 1),
    "x509-certs/corrupted": ("2-key.pem", None),
}
"""The key's file beside it, and how many certificates; None: refused, as all `wrong-*`."""

BUNDLES: dict[str, int | None] = {
    "cert.pem": 1,
    "certs.pem": 2,
    "cert.der": 1,
    "certs.der": 2,
    "federated_bundle.der": 1,
    "empty.pem": 0,
    "key.pem": None,
    "corrupted": None,
    "corrupted.pem": None,
    "not-pem": None,
    "not-pem.pem": None,
}
_FOLDERS = ("svid/x509svid/testdata", "x509-certs")
_BUNDLE_FOLDERS = ("bundle/x509bundle/testdata", "x509-bundle-certs")


def run(cases: Path) -> Iterator[Result]:
    """Every file; one that no table names fails, keys of a named one aside."""
    for folder in _FOLDERS:
        for path in sorted((cases / folder).glob("*")):
            name = f"{folder}/{path.name}"
            if path.name.startswith("wrong-"):
                yield Result(name, judged(svid(path, None), None))
            elif name in SVIDS:
                key, count = SVIDS[name]
                yield Result(name, judged(svid(path, path.parent / key), count))
            elif "key" not in path.name:
                yield Result(name, "no table says what should become of it")
    for folder in _BUNDLE_FOLDERS:
        for path in sorted((cases / folder).glob("*")):
            known = path.name in BUNDLES
            expected = BUNDLES.get(path.name)
            reason = judged(bundle(path), expected) if known else "no table names it"
            yield Result(f"{folder}/{path.name}", reason)
    yield from spiffe_bundles.run(cases)


def svid(path: Path, key: Path | None) -> Found:
    """The chain of a file as an SVID, of this key if there is one."""
    try:
        chain = chain_from_pem(_pem(path))
        check_svid(chain)
        if key and not matches_key(chain[0], key_from_pem(_key_pem(key)).public_key()):
            return "key does not match"
    except CertificateError as error:
        return str(error)
    return len(chain)


def bundle(path: Path) -> Found:
    try:
        return len(TrustBundle.from_pem(_pem(path)).roots)
    except CertificateError as error:
        return str(error)


def judged(found: Found, expected: int | None) -> str:
    if isinstance(found, str):
        return "" if expected is None else f"refused: {found}"
    return "" if found == expected else f"{found} certificates, expected {expected or 'a refusal'}"


def _pem(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix != ".der":
        return data
    blocks, at = [], 0
    while at < len(data):
        end = der.content_bounds(data, at)[1]
        blocks.append(_armored(data[at:end]))
        at = end
    return b"".join(blocks)


def _armored(data: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(data).encode()


def _key_pem(path: Path) -> bytes:
    if path.suffix != ".der":
        return path.read_bytes()
    key = load_der_private_key(path.read_bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
