"""What a provider of identities publishes: the document of OpenID Connect Discovery 1.0, and keys.

Pure. Whatever is wrong is a CertificateError of one line that tells nothing of the content: it may
have come from somewhere that the configuration's author must not read.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from certs.errors import CertificateError
from certs.jwt_keys import KeySet

MAX_BYTES = 1 << 20
"""Of either document."""

MAX_KEYS_BYTES = 256 << 10
"""Of what remains of a key set: each listener that wants its tokens holds it."""

_WELL_KNOWN = "/.well-known/openid-configuration"
_PUBLIC = ("kty", "kid", "alg", "n", "e", "crv", "x", "y")
"""Members that verifying needs (RFC 7518 section 6); no private one is ever handed on."""


def discovery_url(issuer: str) -> str:
    """Section 4.1: below the issuer, whose last slash does not count."""
    return issuer.removesuffix("/") + _WELL_KNOWN


def keys_url(text: bytes, issuer: str) -> str:
    """The `jwks_uri` that the document names."""
    document = _object(text, "the discovery document")
    if document.get("issuer") != issuer:
        raise CertificateError(
            "the discovery document is not of this issuer: its `issuer` must be the same text, up "
            "to the last slash (OpenID Connect Discovery 1.0, section 4.3)"
        )
    url = document.get("jwks_uri")
    if not isinstance(url, str) or len(url) > 2000 or not _is_plain(url):
        raise CertificateError("the discovery document has no usable jwks_uri")
    if urlsplit(issuer).scheme == "https" and urlsplit(url).scheme != "https":
        raise CertificateError("the discovery document's jwks_uri is not https, as the issuer is")
    return url


def _is_plain(url: str) -> bool:
    return all("!" <= character <= "~" for character in url)


def public_keys(text: bytes) -> str:
    """A JWKS document's keys that signatures are verified with, in one order whatever the server's
    was, so that what means the same is the same. Shared secrets are no public keys."""
    KeySet.parse(text)
    document = _object(text, "the key set")
    members = document.get("keys")
    if isinstance(members, list):
        found = sorted(json.dumps(_public(one), sort_keys=True) for one in members if _signs(one))
        result = f'{{"keys": [{", ".join(dict.fromkeys(found))}]}}'
    else:
        result = json.dumps(document, sort_keys=True)  # certificates by key id
    if len(result) > MAX_KEYS_BYTES:
        raise CertificateError(f"the keys are more than {MAX_KEYS_BYTES} bytes")
    KeySet.parse(result)
    return result


def count(keys: str) -> int:
    """How many can be used."""
    return len(KeySet.parse(keys).keys)


def _signs(member: object) -> bool:
    return isinstance(member, dict) and member.get("kty") != "oct" and member.get("use") != "enc"


def _public(member: dict[str, Any]) -> dict[str, Any]:
    return {name: member[name] for name in _PUBLIC if name in member}


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise CertificateError(f"{what} is no JSON") from None
    if not isinstance(document, dict):
        raise CertificateError(f"{what} is no JSON object")
    return document
