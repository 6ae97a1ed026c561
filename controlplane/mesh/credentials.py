"""Certificates, keys and roots that users bring for TLS, by the names of their Secrets."""

from __future__ import annotations

from dataclasses import field

from controlplane.mesh.position import NOWHERE, Position
from protos.frozen import frozen


@frozen
class Credential:
    """PEM texts, checked; b'' for what it does not have. lists: of what is revoked."""

    namespace: str
    name: str
    chain: bytes = field(default=b"", repr=False)
    private_key: bytes = field(default=b"", repr=False)
    roots: bytes = field(default=b"", repr=False)
    lists: bytes = field(default=b"", repr=False)
    position: Position = field(default=NOWHERE, compare=False)

    @property
    def has_pair(self) -> bool:
        return bool(self.chain)
