"""Resources as JSON, for the admin's `/config_dump`.

Protobuf's JSON with the proto's own field names, as Envoy prints it. Every type that a decoder
accepted is loaded, so an `Any` inside can be shown too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import Error, MessageToDict
from google.protobuf.message import DecodeError

from proxy.config.decode import RESOURCES


def as_json(type_url: str, body: bytes) -> Mapping[str, Any]:
    """The fields of one resource, without `@type`. Never fails: what can't be shown says why."""
    try:
        message = RESOURCES[type_url].message.FromString(body)
        shown: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    except (Error, DecodeError, TypeError, KeyError) as error:
        return {"error": f"cannot be shown as JSON: {error}", "size_bytes": len(body)}
    return shown
