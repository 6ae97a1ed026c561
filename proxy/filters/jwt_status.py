"""Why a token was not accepted: Envoy's sentences, with their numbers for metadata.

A client reads the sentence in the answer's body, the access log in its details.
"""

from __future__ import annotations

from collections.abc import Mapping

from certs.jwt_token import (
    AUDIENCE_NOT_ALLOWED,
    EXPIRED,
    MISSING,
    NO_MATCHING_KEY,
    NOT_YET_VALID,
    UNKNOWN_ISSUER,
    VERIFICATION_FAILS,
)

OK = ""
NO_VALID_KEYS = "Jwks doesn't have any valid public key"
FETCH_FAILS = "Jwks remote fetch is failed"
CODES: Mapping[str, int] = {
    MISSING: 1,
    NOT_YET_VALID: 2,
    EXPIRED: 3,
    "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections": 4,
    "Jwt header is an invalid Base64url encoded": 5,
    "Jwt header is an invalid JSON": 6,
    "Jwt header [alg] field is required and must be a string": 7,
    "Jwt header [alg] is not supported": 8,
    "Jwt header [kid] field is not a string": 9,
    "Jwt payload is an invalid Base64url encoded": 10,
    "Jwt payload is an invalid JSON": 11,
    "Jwt payload [iss] field is not a string": 12,
    "Jwt payload [sub] field is not a string": 13,
    "Jwt payload [iat] field is not an integer": 14,
    "Jwt payload [iat] field is not a positive 64 bit integer": 15,
    "Jwt payload [nbf] field is not an integer": 16,
    "Jwt payload [nbf] field is not a positive 64 bit integer": 17,
    "Jwt payload [exp] field is not an integer": 18,
    "Jwt payload [exp] field is not a positive 64 bit integer": 19,
    "Jwt payload [jti] field is not a string": 20,
    "Jwt payload [aud] field is not a string or string list": 21,
    "Jwt signature is an invalid Base64url encoded": 22,
    "Jwt ED25519 signature is wrong length": 23,
    UNKNOWN_ISSUER: 24,
    AUDIENCE_NOT_ALLOWED: 25,
    VERIFICATION_FAILS: 26,
    NO_VALID_KEYS: 31,
    NO_MATCHING_KEY: 32,
    FETCH_FAILS: 40,
}


def code(status: str) -> int:
    """Envoy's number; what it has no sentence for counts as a failed verification."""
    return CODES.get(status, CODES[VERIFICATION_FAILS])
