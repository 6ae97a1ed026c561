"""Decodes how a connection manager finds out who the client is, and what it may be believed."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3 import extension_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.http.original_ip_detection.xff.v3 import xff_pb2
from envoy.extensions.request_id.uuid.v3 import uuid_pb2

from proxy.config.decode_common import PREFIX, cidrs, unpack, unsupported_type
from proxy.config.model import CidrRange
from proxy.config.rejected import Rejected

_XFF = xff_pb2.XffConfig
_UUID = uuid_pb2.UuidRequestIdConfig


def internal_addresses(message: hcm_pb2.HttpConnectionManager, path: str) -> tuple[CidrRange, ...]:
    where = f"{path}.internal_address_config.cidr_ranges"
    return cidrs(message.internal_address_config.cidr_ranges, where)


def trusted_hops(message: hcm_pb2.HttpConnectionManager, path: str) -> int:
    """`xff_num_trusted_hops`, of the manager or of its XFF extension: Envoy has one at most."""
    extensions = message.original_ip_detection_extensions
    if not extensions:
        return message.xff_num_trusted_hops
    where = f"{path}.original_ip_detection_extensions"
    if message.use_remote_address.value or message.xff_num_trusted_hops:
        raise Rejected(where, "can't be mixed with use_remote_address and xff_num_trusted_hops")
    return _of_extensions(extensions, where)


def _of_extensions(messages: Iterable[extension_pb2.TypedExtensionConfig], path: str) -> int:
    found: list[int] = []
    for i, message in enumerate(messages):
        where, packed = f"{path}[{i}].typed_config", message.typed_config
        if packed.type_url != PREFIX + _XFF.DESCRIPTOR.full_name:
            raise unsupported_type(packed, where, [_XFF.DESCRIPTOR.full_name])
        found.append(unpack(_XFF, packed, where).xff_num_trusted_hops)
    if len(found) > 1:
        raise Rejected(f"{path}[1]", "more than one extension is not supported")
    return found[0]


def request_ids(message: hcm_pb2.HttpConnectionManager) -> uuid_pb2.UuidRequestIdConfig:
    """What is said of them; `message` must have passed `check_request_ids`."""
    return _UUID.FromString(message.request_id_extension.typed_config.value)


def check_request_ids(message: hcm_pb2.HttpConnectionManager, path: str) -> None:
    """UUIDs are the only ids that there are."""
    if not message.HasField("request_id_extension"):
        return
    packed, where = message.request_id_extension.typed_config, f"{path}.request_id_extension"
    if packed.type_url != PREFIX + _UUID.DESCRIPTOR.full_name:
        raise unsupported_type(packed, f"{where}.typed_config", [_UUID.DESCRIPTOR.full_name])
    unpack(_UUID, packed, f"{where}.typed_config")
