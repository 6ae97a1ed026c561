"""Opens a `TypedStruct`: the name of a type of somebody else's, and its fields as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import any_pb2

from proxy.config.decode_common import struct, type_name, unpack

TYPED_STRUCTS = ("xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct")


def open_struct(packed: any_pb2.Any, path: str) -> tuple[str, Mapping[str, Any]]:
    """`packed` must hold one. Its modules are imported here, as few configurations have any."""
    if type_name(packed) == TYPED_STRUCTS[0]:
        from xds.type.v3 import typed_struct_pb2

        new = unpack(typed_struct_pb2.TypedStruct, packed, path)
        return new.type_url, struct(new.value)
    from udpa.type.v1 import typed_struct_pb2 as old_struct_pb2

    old = unpack(old_struct_pb2.TypedStruct, packed, path)
    return old.type_url, struct(old.value)
