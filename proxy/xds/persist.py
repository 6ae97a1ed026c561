"""The last good configuration on disk, so that a proxy starts while its control plane is away.

STATE/last-good.binpb: one line `weft-last-good 1`, the SHA-256 of the rest in hex, then a
DeltaDiscoveryResponse with every accepted resource (type, name, version, bytes; of a virtual host
the names that were asked for) and the node's id.
A secret with a private key is never among them. Written atomically, mode 0600. Reading never
fails: what is missing, torn, of another version or another node is no configuration, and why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from certs.files import write_secret
from protos.types import CDS, EDS, LDS, RDS, SDS, VHDS
from proxy.xds.raw import Raw

FILE = "last-good.binpb"
_HEAD = b"weft-last-good 1\n"
_DIGEST_CHARS = 64
# Who names others comes first: the store takes only what somebody names.
ORDER = (CDS, LDS, EDS, RDS, VHDS, SDS)


@dataclass(frozen=True, slots=True)
class LastGood:
    """What the file held; problem says why there is nothing, '' where there never was a file."""

    resources: tuple[Raw, ...] = ()
    problem: str = ""


def encode(node_id: str, raws: Iterable[Raw]) -> bytes:
    """The file's bytes. Certificates with their keys are left out."""
    message = discovery_pb2.DeltaDiscoveryResponse()
    message.control_plane.identifier = node_id
    for raw in raws:
        if raw.type_url == SDS and _has_key(raw.body):
            continue
        resource = message.resources.add(name=raw.name, version=raw.version, aliases=raw.aliases)
        resource.resource.type_url = raw.type_url
        resource.resource.value = raw.body
    payload = message.SerializeToString()
    return _HEAD + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def _has_key(body: bytes) -> bool:
    """Anything but a validation context may hold a key (ticket keys, generic secrets)."""
    try:
        kind: str | None = secret_pb2.Secret.FromString(body).WhichOneof("type")
    except DecodeError:
        return True
    return kind != "validation_context"


def decode(node_id: str, data: bytes, at_s: float) -> LastGood:
    """`at_s`: when the file was written, in Unix seconds."""
    if not data.startswith(_HEAD):
        return LastGood(problem="it is of another version or no such file")
    digest, payload = data[len(_HEAD) :][:_DIGEST_CHARS], data[len(_HEAD) + _DIGEST_CHARS + 1 :]
    if hashlib.sha256(payload).hexdigest().encode() != digest:
        return LastGood(problem="its checksum is wrong")
    try:
        message = discovery_pb2.DeltaDiscoveryResponse.FromString(payload)
    except DecodeError:
        return LastGood(problem="it cannot be decoded")
    if message.control_plane.identifier != node_id:
        return LastGood(problem=f"it is that of node {message.control_plane.identifier}")
    found = [
        Raw(
            *(each.resource.type_url, each.name, each.version, each.resource.value, at_s),
            tuple(each.aliases),
        )
        for each in message.resources
        if each.resource.type_url in ORDER
    ]
    return LastGood(tuple(sorted(found, key=lambda raw: ORDER.index(raw.type_url))))


def load(state_dir: Path, node_id: str) -> LastGood:
    path = state_dir / FILE
    try:
        return decode(node_id, path.read_bytes(), path.stat().st_mtime)
    except FileNotFoundError:
        return LastGood()
    except OSError as error:
        return LastGood(problem=str(error.strerror))


def save(state_dir: Path, node_id: str, raws: Sequence[Raw]) -> None:
    """Blocks on the disk: to be called in a thread. OSError as the file system gives it."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_secret(state_dir / FILE, encode(node_id, raws))
