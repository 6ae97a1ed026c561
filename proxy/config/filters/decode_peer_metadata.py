"""Decodes `io.istio.http.peer_metadata.Config`, and the headers that its filter exchanges.

`x-envoy-peer-metadata` is a `google.protobuf.Struct` in base64, in the words of Istio's node
metadata; what a header says is not believed of anything but metrics.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from proxy.config.model.istio import Peer, PeerMetadata
from proxy.config.rejected import Rejected
from proxy.config.structs import fields, messages, switch

TYPE_URL = "type.googleapis.com/io.istio.http.peer_metadata.Config"
MAX_HEADER_BYTES = 16 * 1024
MAX_VALUE_CHARACTERS = 256

CANONICAL_NAME = "service.istio.io/canonical-name"
CANONICAL_REVISION = "service.istio.io/canonical-revision"
_NAMES = (CANONICAL_NAME, "app.kubernetes.io/name", "app")
_REVISIONS = (CANONICAL_REVISION, "app.kubernetes.io/version", "version")

LABELS = "LABELS"
_WORDS = ("WORKLOAD_NAME", "NAMESPACE", "CLUSTER_ID", "NAME", LABELS)
_LABELS = tuple(sorted({*_NAMES, *_REVISIONS}))

_FIELDS = (
    "downstream_discovery", "upstream_discovery", "downstream_propagation",
    "upstream_propagation", "shared_with_upstream", "additional_labels",
)  # fmt: skip


def decode(value: Mapping[str, Any], path: str) -> PeerMetadata:
    """A `workload_discovery` is passed over: it asks another API for what headers say, too."""
    given = fields(value, path, _FIELDS)
    if switch(given, "shared_with_upstream", path):
        raise Rejected(f"{path}.shared_with_upstream", "is not supported by this version of Weft")
    if given.get("additional_labels"):
        raise Rejected(f"{path}.additional_labels", "is not supported by this version of Weft")
    found = {
        name: _headers(given, name, path, allowed)
        for name, allowed in (
            ("downstream_discovery", ("workload_discovery", "istio_headers")),
            ("upstream_discovery", ("workload_discovery", "istio_headers")),
            ("downstream_propagation", ("istio_headers",)),
            ("upstream_propagation", ("istio_headers",)),
        )
    }
    upstream = found["upstream_propagation"]
    return PeerMetadata(
        reads_downstream=found["downstream_discovery"] is not None,
        reads_upstream=found["upstream_discovery"] is not None,
        tells_downstream=found["downstream_propagation"] is not None,
        tells_upstream=upstream is not None,
        skips_external=bool(upstream and upstream.get("skip_external_clusters")),
    )


def _headers(
    given: Mapping[str, Any], name: str, path: str, allowed: tuple[str, ...]
) -> Mapping[str, Any] | None:
    """What a list of methods says of `istio_headers`; None if it is not among them."""
    found = None
    for i, one in enumerate(messages(given, name, path)):
        where = f"{path}.{name}[{i}]"
        method = fields(one, where, allowed)
        if "istio_headers" in method:
            inner = f"{where}.istio_headers"
            found = fields(method["istio_headers"], inner, ("skip_external_clusters",))
            switch(found, "skip_external_clusters", inner)
    return found


# --------------------------------------------------------------------------- who a workload is


def peer_of_header(value: bytes) -> Peer | None:
    """None for what can't be read."""
    if len(value) > MAX_HEADER_BYTES:
        return None
    try:
        text = b64decode(value + b"=" * (-len(value) % 4), validate=True)
        return peer(_said(Struct.FromString(text), _WORDS))
    except (Base64Error, DecodeError, ValueError):
        return None


def _said(message: Struct, wanted: tuple[str, ...]) -> dict[str, Any]:
    """Of what may be thousands of fields, those that count."""
    found = {name: message.fields[name] for name in wanted if name in message.fields}
    return {
        name: _said(one.struct_value, _LABELS) if name == LABELS else one.string_value
        for name, one in found.items()
    }


def peer(metadata: Mapping[str, Any]) -> Peer:
    """Of a node's metadata, as Istio's agents write it."""
    said = metadata.get(LABELS)
    labels = said if isinstance(said, dict) else {}
    workload = _text(metadata, "WORKLOAD_NAME")
    return Peer(
        workload=workload,
        namespace=_text(metadata, "NAMESPACE"),
        canonical_service=_first(labels, _NAMES) or workload,
        canonical_revision=_first(labels, _REVISIONS),
        app=_text(labels, "app"),
        version=_text(labels, "version"),
        cluster=_text(metadata, "CLUSTER_ID"),
        instance=_text(metadata, "NAME"),
    )


def header_of(found: Peer) -> bytes:
    """The same for the same workload, byte by byte."""
    labels = {
        CANONICAL_NAME: found.canonical_service,
        CANONICAL_REVISION: found.canonical_revision,
        "app": found.app,
        "version": found.version,
    }
    words = {
        "NAME": found.instance,
        "NAMESPACE": found.namespace,
        "WORKLOAD_NAME": found.workload,
        "CLUSTER_ID": found.cluster,
    }
    told = Struct()
    told.update({name: text for name, text in words.items() if text})
    told.update({LABELS: {name: text for name, text in labels.items() if text}})
    return b64encode(told.SerializeToString(deterministic=True))


def _first(labels: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((text for name in names if (text := _text(labels, name))), "")


def _text(metadata: Mapping[str, Any], name: str) -> str:
    """It stands in metrics and in logs, whose lines are not a stranger's to end."""
    value = metadata.get(name)
    if not isinstance(value, str):
        return ""
    text = value[:MAX_VALUE_CHARACTERS]
    return text if text.isprintable() else "".join(c if c.isprintable() else "_" for c in text)
