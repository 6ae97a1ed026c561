"""An accepted resource as it came: for the disk, for the admin pages, and its version for the next
stream."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Raw:
    """`updated_at_s` in Unix seconds. aliases: of a virtual host, the names that were asked for."""

    type_url: str
    name: str
    version: str
    body: bytes = field(repr=False)
    updated_at_s: float
    aliases: tuple[str, ...] = ()
