"""Takes secrets out of configuration before it is shown, as Envoy's `udpa.annotations.sensitive`
does and a little more: credentials in gRPC metadata and headers to add are hidden too.

A file's name is no secret: of a data source only the inline forms are hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"
REDACTED_BYTES = "W3JlZGFjdGVkXQ=="  # the same word, as JSON writes bytes

_SENSITIVE = frozenset(
    {
        "private_key",
        "password",
        "private_key_provider",
        "pkcs12",
        "generic_secret",
        "session_ticket_keys",
        "users",
        "access_token",
        "refresh_token",
        "signing_key",
        "hmac_secret",
    }
)
_CREDENTIAL_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})


def redact(value: Any) -> Any:
    """A copy of JSON-like data in which nothing secret is left."""
    if isinstance(value, Mapping):
        header = str(value.get("key", "")).lower()
        if header in _CREDENTIAL_HEADERS and "value" in value:
            value = {**value, "value": REDACTED}
        return {
            key: _hide(each) if key in _SENSITIVE else redact(each) for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(each) for each in value]
    return value


def _hide(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _hide_field(key, each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(each) for each in value]
    return REDACTED


def _hide_field(key: str, value: Any) -> Any:
    if key in ("filename", "environment_variable", "watched_directory"):
        return value
    return REDACTED_BYTES if key == "inline_bytes" else _hide(value)
