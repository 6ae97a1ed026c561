"""A JSON Web Token (JWS compact serialization, RFC 7515) taken apart, and its times checked.

Nothing here is proven: whoever believes a claim must first have had `jwt_keys.KeySet.verify` say
yes. The texts of JwtError are Envoy's, since a proxy answers with them.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NoReturn

from certs.errors import CertificateError

MISSING = "Jwt is missing"
NOT_YET_VALID = "Jwt not yet valid"
EXPIRED = "Jwt is expired"
UNKNOWN_ISSUER = "Jwt issuer is not configured"
AUDIENCE_NOT_ALLOWED = "Audiences in Jwt are not allowed"
VERIFICATION_FAILS = "Jwt verification fails"
NO_MATCHING_KEY = "Jwks doesn't have key to match kid or alg from Jwt"

ALGORITHMS = frozenset(
    f"{family}{bits}" for family in ("HS", "RS", "PS", "ES") for bits in (256, 384, 512)
) | {"EdDSA"}
"""What Envoy implements; `none` is no algorithm."""

MAX_JWT_BYTES = 64 * 1024
_MAX_UINT64 = 2**64
_MAX_HEADERS = 256
_MAX_DIGITS = 308  # of a number that is surely a finite double
_LONG_HEADER = 1024
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_SCHEME = re.compile(r"https?://")
_Claims = Mapping[str, object]


class JwtError(CertificateError):
    """A token that is malformed or not accepted; the text is Envoy's status and safe to show."""


class Jwt:
    """One token, taken apart. JwtError where it is malformed.

    `header` and `claims` are the JSON objects; `issuer`, `subject` and `kid` are '' where absent;
    `audiences` is a tuple, also of a single one; `expires_at`, `not_before` and `issued_at` are
    Unix seconds, 0 where absent. `payload` is the base64url text of the claims, as it came;
    `signed` and `signature` are what a key is asked about.
    """

    __slots__ = (
        "alg",
        "audiences",
        "claims",
        "expires_at",
        "header",
        "issued_at",
        "issuer",
        "kid",
        "not_before",
        "payload",
        "signature",
        "signed",
        "subject",
    )

    def __init__(self, text: str) -> None:
        parts = text.split(".")
        if len(parts) != 3 or not all(parts) or len(text) > MAX_JWT_BYTES:
            raise JwtError(
                "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
            )
        header_text, self.payload, signature_text = parts
        read = _known_header if len(header_text) <= _LONG_HEADER else _header
        self.header, self.alg, self.kid = read(header_text)
        self.claims: _Claims = _json_object(self.payload, "payload")
        self._read_claims()
        self.signature: bytes = _base64url(signature_text, "signature")
        self.signed: bytes = text[: -len(signature_text) - 1].encode("ascii")

    def _read_claims(self) -> None:
        self.issuer: str = _string(self.claims, "iss")
        self.subject: str = _string(self.claims, "sub")
        self.issued_at: int = _time(self.claims, "iat")
        self.not_before: int = _time(self.claims, "nbf")
        self.expires_at: int = _time(self.claims, "exp")
        _string(self.claims, "jti")
        self.audiences: tuple[str, ...] = _audiences(self.claims.get("aud", ()))

    def check_time(self, now: float, clock_skew_s: float) -> None:
        """JwtError outside of `nbf` and `exp`; a token without them has no such limit."""
        if int(now) + clock_skew_s < self.not_before:
            raise JwtError(NOT_YET_VALID)
        if self.expires_at and int(now) > self.expires_at + clock_skew_s:
            raise JwtError(EXPIRED)

    def check_audience(self, allowed: frozenset[str]) -> None:
        """JwtError unless one audience is among `allowed` (made by `comparable`); empty: any."""
        if allowed and not any(_comparable(name) in allowed for name in self.audiences):
            raise JwtError(AUDIENCE_NOT_ALLOWED)


def comparable(audiences: Iterable[str]) -> frozenset[str]:
    """Audiences as Envoy compares them: without http(s):// before and one slash behind."""
    return frozenset(map(_comparable, audiences))


def _comparable(audience: str) -> str:
    return _SCHEME.sub("", audience, count=1).removesuffix("/") if "/" in audience else audience


def _header(text: str) -> tuple[_Claims, str, str]:
    """(the JSON object, alg, kid)"""
    header = _json_object(text, "header")
    alg, kid = header.get("alg"), header.get("kid", "")
    if not isinstance(alg, str):
        raise JwtError("Jwt header [alg] field is required and must be a string")
    if alg not in ALGORITHMS:
        raise JwtError("Jwt header [alg] is not supported")
    if not isinstance(kid, str):
        raise JwtError("Jwt header [kid] field is not a string")
    if "crit" in header:
        # RFC 7515 section 4.1.11: whoever does not understand it must refuse.
        raise JwtError("Jwt header [crit] is not supported")
    return header, alg, kid


# An issuer's tokens all have the same header. Long ones are not kept: anybody can send them.
_known_header = lru_cache(maxsize=_MAX_HEADERS)(_header)


def _json_object(part: str, what: str) -> _Claims:
    data = _base64url(part, what)
    try:
        value = _DECODER.decode(data.decode())
        if b"\\u" in data:  # only an escape can make half of a surrogate pair: no text (Envoy)
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise JwtError(f"Jwt {what} is an invalid JSON")
    return value


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("the number is too large")
    return value


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        _finite(text)
    return int(text)


_DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_whole, parse_constant=_not_json)


def _base64url(part: str, what: str) -> bytes:
    """RFC 7515 section 2: the URL-safe alphabet and no padding."""
    if not _BASE64URL.fullmatch(part) or len(part) % 4 == 1:
        raise JwtError(f"Jwt {what} is an invalid Base64url encoded")
    return binascii.a2b_base64(part.replace("-", "+").replace("_", "/") + "=" * (-len(part) % 4))


def _string(claims: _Claims, name: str) -> str:
    value = claims.get(name, "")
    if not isinstance(value, str):
        raise JwtError(f"Jwt payload [{name}] field is not a string")
    return value


def _time(claims: _Claims, name: str) -> int:
    value = claims.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise JwtError(f"Jwt payload [{name}] field is not an integer")
    if not 0 <= value < _MAX_UINT64:
        raise JwtError(f"Jwt payload [{name}] field is not a positive 64 bit integer")
    return int(value)


def _audiences(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    names = tuple(value) if isinstance(value, list | tuple) else (None,)
    if not all(isinstance(name, str) for name in names):
        raise JwtError("Jwt payload [aud] field is not a string or string list")
    return names
