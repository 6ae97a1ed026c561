"""Tokens for tests: signed with a secret (HS256), and the key sets that go with it."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from typing import Any

SECRET = b"a-secret-of-thirty-two-bytes-len"
OTHER_SECRET = b"b-secret-of-thirty-two-bytes-len"


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def jwks(secret: bytes = SECRET, kid: str = "k1") -> str:
    return json.dumps(
        {"keys": [{"kty": "oct", "alg": "HS256", "kid": kid, "k": base64url(secret)}]}
    )


def token(claims: dict[str, Any], secret: bytes = SECRET, kid: str = "k1") -> str:
    head = base64url(json.dumps({"alg": "HS256", "kid": kid}).encode())
    signed = f"{head}.{base64url(json.dumps(claims).encode())}"
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64url(signature)}"
