"""Who tells access logs over gRPC: `StreamAccessLogsMessage.Identifier`, as bytes."""

from __future__ import annotations

from proxy.config.model import Node
from proxy.wire.protobuf import data, data_key, struct, words

USER_AGENT = "weft"
_NODE, _LOG_NAME = data_key(1), data_key(2)
_ID, _CLUSTER, _METADATA, _LOCALITY = data_key(1), data_key(2), data_key(3), data_key(4)
_AGENT, _VERSION = data_key(6), data_key(7)


def identifier(node: Node, version: str, log_name: str) -> bytes:
    """node: as the control plane knows it. version: of this program."""
    said = words(_ID, node.id) + words(_CLUSTER, node.cluster)
    if node.metadata:
        said += data(_METADATA, struct(node.metadata))
    if any(node.locality):
        places = enumerate(node.locality, 1)
        said += data(_LOCALITY, b"".join([words(data_key(n), place) for n, place in places]))
    said += words(_AGENT, USER_AGENT) + words(_VERSION, version)
    return data(_NODE, said) + words(_LOG_NAME, log_name)
